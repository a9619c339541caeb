"""The one exception that means: the input is wrong, not the program."""


class InputError(ValueError):
    """What a user gave cannot be used; the message names it and the remedy in one sentence."""
