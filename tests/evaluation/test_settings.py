from pydantic import ValidationError
from support.messages import raises

from invkit.evaluation.metrics import METRICS
from invkit.evaluation.settings import Eval
from invkit.reconstructors import METHODS


def test_settings_name_each_thing_once():
    with raises(ValidationError, "metrics"):
        Eval(metrics=(METRICS["psnr"](), METRICS["psnr"]()))
    with raises(ValidationError, "methods"):
        Eval(methods=(METHODS["model"](), METHODS["model"]()))
