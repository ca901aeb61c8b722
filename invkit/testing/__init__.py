"""The conformance suite: does a plugin satisfy the assumptions of the core?

In a plugin's test::

    from invkit.testing import check_degradation

    def test_my_blur_conforms():
        check_degradation(MyBlur).raise_for_failures()

`invkit plugins check NAME` does the same on the command line; `docs/reference/conformance.md` describes each check.
"""

from invkit.testing.check import check_degradation
from invkit.testing.datasets import check_dataset
from invkit.testing.methods import check_method
from invkit.testing.metrics import check_metric
from invkit.testing.networks import check_network
from invkit.testing.noises import check_noise
from invkit.testing.priors import check_prior
from invkit.testing.report import Check, Report
from invkit.testing.samplers import check_sampler

__all__ = [
    "Check",
    "Report",
    "check_dataset",
    "check_degradation",
    "check_method",
    "check_metric",
    "check_network",
    "check_noise",
    "check_prior",
    "check_sampler",
]
