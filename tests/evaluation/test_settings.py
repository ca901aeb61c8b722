from pydantic import ValidationError
from support.messages import raises

from invkit.evaluation import Eval
from invkit.metrics import METRICS
from invkit.reconstruct import METHODS


def test_settings_name_each_thing_once():
    with raises(ValidationError, "metrics"):
        Eval(metrics=(METRICS["psnr"](), METRICS["psnr"]()))
    with raises(ValidationError, "methods"):
        Eval(methods=(METHODS["model"](), METHODS["model"]()))
