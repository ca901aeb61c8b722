"""Source of a valid plugin, from which broken ones are derived."""

GOOD = """
from invkit.api import Degradation, Field, Settings, hookimpl

class Blur(Degradation):
    '''Blurs.'''
    width: float = Field(0.1, gt=0, description="width")
    def sample(self, keys, grid): ...

@hookimpl
def invkit_degradations():
    return {"blur": Blur}
"""
SHARP = GOOD.replace("Blur", "Sharp").replace("blur", "sharp")
