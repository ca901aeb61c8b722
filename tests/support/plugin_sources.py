"""Source of a valid plugin, from which broken ones are derived."""

GOOD = """
from invkit.api import Degradation, Field, Mask, Settings, hookimpl

class Blur(Degradation):
    '''Blurs.'''
    width: float = Field(0.1, gt=0, description="width")
    def sample(self, keys, grid):
        return Mask(keys.uniform("mask", 1, *grid.shape) < 0.5, grid.channels)

@hookimpl
def invkit_degradations():
    return {"blur": Blur}
"""
SHARP = GOOD.replace("Blur", "Sharp").replace("blur", "sharp")
