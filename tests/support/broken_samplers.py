"""Samplers with one mistake each, which a test has to notice."""

from invkit.diffusion.samplers import Denoising, EulerMaruyama


class Loud(Denoising):
    def walk(self, denoise, noise, levels, x):
        return super().walk(denoise, lambda label: 1.3 * noise(label), levels, x)


class HalfDrift(EulerMaruyama):
    """The probability-flow drift with the SDE's noise."""

    def walk(self, denoise, noise, levels, x):
        return super().walk(lambda z, s: z + 0.5 * (denoise(z, s) - z), noise, levels, x)


def name(value):
    return type(value).__name__ if not isinstance(value, tuple | float | int | str) else None
