import pytest
from support.evaluations import Exact, Flat, table_of

from invkit.evaluation.evaluator import Evaluation


@pytest.fixture(scope="session")
def toy() -> Evaluation:
    return table_of(Flat(), Exact(), Exact("model", shrink=0.7), images=48, samples=19)
