"""Errors, as the report names them."""


def of_error(error):
    """The kind of an error and the first line of what it says, shortened."""
    lines = str(error).strip().splitlines() or [""]
    text = f"{type(error).__name__}: {lines[0]}".removesuffix(": ")
    return text if len(text) <= 200 else text[:199] + "…"
