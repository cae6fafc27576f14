"""Numbers for people: grouped digits, a sensible precision, a unit that fits the size."""

from __future__ import annotations

from collections.abc import Sequence

MINUS = "\N{MINUS SIGN}"
NOTHING = "\N{EM DASH}"
GAP = "\N{NO-BREAK SPACE}"
"""Between a number and its unit: the two stay on one line."""
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def plain(value: float | None, digits: int = 4) -> str:
    """About ``digits`` significant digits, thousands grouped; an em dash for None."""
    if value is None:
        return NOTHING
    size = abs(value)
    if size >= 10 ** (digits - 1) or (float(value).is_integer() and size < 1e15):
        text = f"{size:,.0f}"
    elif size >= 1e-3:
        text = f"{size:,.{digits}g}"
    else:
        mantissa, _, exponent = f"{size:.{min(digits, 3) - 1}e}".partition("e")
        mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        text = f"{mantissa}{GAP}×{GAP}10{str(int(exponent)).translate(SUPERSCRIPT)}"
    return f"{MINUS}{text}" if value < 0 else text


def size(count: float | None) -> str:
    """Bytes as bytes, KiB or MiB (powers of 1024)."""
    if count is None:
        return NOTHING
    for unit, factor in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= factor:
            scaled = f"{count / factor:.{1 if count / factor < 100 else 0}f}"
            return f"{scaled.removesuffix('.0')}{GAP}{unit}"
    return f"{count:,.0f}{GAP}bytes"


def duration(us: float | None) -> str:
    """Microseconds as ns, µs, ms or s."""
    if us is None:
        return NOTHING
    for unit, factor in (("s", 1e6), ("ms", 1e3), ("µs", 1.0)):
        if abs(us) >= factor:
            return f"{plain(us / factor, 3)}{GAP}{unit}"
    return f"{plain(us * 1e3, 3)}{GAP}ns" if us else f"0{GAP}µs"


def percent(share: float | None, digits: int = 1, *, signed: bool = False) -> str:
    """A share of one as percent; ``signed`` writes a plus where it grew."""
    if share is None:
        return NOTHING
    text = f"{abs(share) * 100:,.{digits}f}"
    if float(text.replace(",", "")) == 0:
        return f"{'±' if signed else ''}{text}{GAP}%"
    return f"{MINUS if share < 0 else '+' if signed else ''}{text}{GAP}%"


def times(ratio: float) -> str:
    """A factor in words: "1.4", "12", "3,400"."""
    return plain(float(f"{ratio:.2g}"), 2) if ratio < 1e15 else "very many"


def with_unit(value: float | None, unit: str) -> str:
    """A value in the form that suits its unit."""
    if unit == "us":
        return duration(value)
    if unit == "bytes":
        return size(value)
    if unit in ("ratio", "fraction"):
        return percent(value)
    if unit == "return":
        return plain(value)
    return f"{plain(value)}{GAP}{unit}".strip() if value is not None else NOTHING


def listed(words: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def count(number: int, noun: str, plural: str = "") -> str:
    """ "1 artifact", "3 artifacts"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def shortened(text: str, limit: int = 40) -> str:
    """At most ``limit`` characters, the middle left out."""
    if len(text) <= limit:
        return text
    keep = limit - 1
    return f"{text[: keep - keep // 2]}…{text[len(text) - keep // 2 :]}"
