"""What can go wrong for a user, each with the exit code that the command line documents."""


class InvkitError(Exception):
    """One clear line for the person in front of the screen: what, where, the way out."""

    exit_code = 1


class RecipeError(InvkitError, ValueError):
    """A recipe, an override or a command-line argument is wrong."""

    exit_code = 2


class DataError(InvkitError, ValueError):
    """A data set, a picture or a checkpoint cannot be used."""

    exit_code = 3


class PluginError(InvkitError):
    """A plugin failed to load, or a name is unknown while one did."""

    exit_code = 4


class NonFiniteError(InvkitError):
    """A loss, a gradient or an output was not finite."""

    exit_code = 5


class ResourceError(InvkitError):
    """Memory or disk ran out."""

    exit_code = 6


class Interrupted(InvkitError):
    """A signal stopped the run; its state is saved."""

    exit_code = 75


class PeerError(InvkitError):
    """Another process of a run ended or cannot be reached; its own message says why."""
