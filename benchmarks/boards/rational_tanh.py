"""The one tanh that every contestant uses: odd over even polynomial with the coefficients that Eigen and XLA publish."""

NUMERATOR = (
    "4.89352455891786e-03f",
    "6.37261928875436e-04f",
    "1.48572235717979e-05f",
    "5.12229709037114e-08f",
    "-8.60467152213735e-11f",
    "2.00018790482477e-13f",
    "-2.76076847742355e-16f",
)
"""Of x, x^3, x^5 … (ptanh_float)."""
DENOMINATOR = ("4.89352518554385e-03f", "2.26843463243900e-03f", "1.18534705686654e-04f", "1.19825839466702e-06f")
"""Of 1, x^2, x^4, x^6."""
CLAMP = "7.90531110763549805f"
"""Past it the quotient is 1 to within a float's rounding."""


def _horner(coefficients: tuple[str, ...]) -> str:
    text = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        text = f"({text} * xx + {coefficient})"
    return text


TANHF = f"""float tanhf(float x) {{
  x = x > -{CLAMP} ? x : -{CLAMP};
  x = x < {CLAMP} ? x : {CLAMP};
  float xx = x * x;
  return x * {_horner(NUMERATOR)} / {_horner(DENOMINATOR)};
}}
"""
"""C text of libm's name for it. It goes into the peer's own file, so that the compiler may inline it there as it may in
our generated code."""
