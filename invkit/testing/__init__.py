"""The conformance kit: is a degradation what the core believes it to be?

In a plugin's test::

    from invkit.testing import check_degradation

    def test_my_blur_conforms():
        check_degradation(MyBlur).raise_for_failures()

`invkit plugins check NAME` does the same on the command line; `docs/conformance.md` says what each check asks.
"""

from invkit.testing.check import check_degradation
from invkit.testing.report import Check, Report

__all__ = ["Check", "Report", "check_degradation"]
