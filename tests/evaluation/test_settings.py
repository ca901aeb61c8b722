import pytest
from pydantic import ValidationError

from invkit.evaluation.metrics import METRICS
from invkit.evaluation.settings import Eval
from invkit.reconstructors import METHODS


def test_settings_name_each_thing_once():
    with pytest.raises(ValidationError, match="should name each only once"):
        Eval(metrics=(METRICS["psnr"](), METRICS["psnr"]()))
    with pytest.raises(ValidationError, match="should name each only once"):
        Eval(methods=(METHODS["model"](), METHODS["model"]()))
