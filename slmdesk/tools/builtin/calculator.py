"""A calculator for models: arithmetic alone, whose every step is bounded before it is made.

Whole numbers are exact. What is written is read by Python's own parser and only ever walked, never run: names other
than the constants and functions below, attributes, texts and comparisons are refused.
"""

from __future__ import annotations

import ast
import math
import operator
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from collections.abc import Callable

Number = int | float

LONGEST = 1000  # characters of an expression
_MOST_NODES = 400
_MOST_BITS = 13_000  # of a whole number: 3 900 digits, fewer than Python refuses to write
_LARGEST_FACTORIAL = 1400  # below those bits

_CONSTANTS: dict[str, Number] = {"pi": math.pi, "e": math.e, "tau": math.tau}
_SIGNS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "^": "\x00"})


def _factorial(value: Number) -> Number:
    if value != int(value) or not 0 <= value <= _LARGEST_FACTORIAL:
        raise _refused(f"A factorial is of a whole number from 0 to {_LARGEST_FACTORIAL}")
    return math.factorial(int(value))


def _rounded(value: Number, digits: Number = 0) -> Number:
    return round(value, max(-300, min(300, int(digits)))) if digits else round(value)


# The name, what it does, and how many values it takes, at least and at most.
_FUNCTIONS: dict[str, tuple[Callable[..., Number], int, int]] = {
    "abs": (abs, 1, 1),
    "round": (_rounded, 1, 2),
    "floor": (math.floor, 1, 1),
    "ceil": (math.ceil, 1, 1),
    "sqrt": (math.sqrt, 1, 1),
    "cbrt": (math.cbrt, 1, 1),
    "exp": (math.exp, 1, 1),
    "log": (math.log, 1, 2),
    "ln": (math.log, 1, 1),
    "log2": (math.log2, 1, 1),
    "log10": (math.log10, 1, 1),
    "sin": (math.sin, 1, 1),
    "cos": (math.cos, 1, 1),
    "tan": (math.tan, 1, 1),
    "asin": (math.asin, 1, 1),
    "acos": (math.acos, 1, 1),
    "atan": (math.atan, 1, 1),
    "atan2": (math.atan2, 2, 2),
    "degrees": (math.degrees, 1, 1),
    "radians": (math.radians, 1, 1),
    "factorial": (_factorial, 1, 1),
    "gcd": (math.gcd, 2, 8),
    "lcm": (math.lcm, 2, 4),
    "min": (min, 2, 64),
    "max": (max, 2, 64),
}


def calculate(expression: str) -> str:
    """The value of an expression as text: a whole number exactly, another with up to 15 significant digits.

    `^` and `**` are powers, `//` and `%` floor division and its rest. Raises `SlmDeskError("expression_invalid")`.
    """
    text = expression.strip().removesuffix("=").strip()
    if not text:
        raise _refused("There is nothing to calculate")
    if len(text) > LONGEST:
        raise _refused(f"The expression is longer than {LONGEST} characters")
    source = text.translate(_SIGNS).replace("\x00", "**")
    try:
        tree = ast.parse(source, mode="eval")
        if sum(1 for _ in ast.walk(tree)) > _MOST_NODES:
            raise _refused("The expression has too many parts")
        value = _value(tree.body)
        return _shown(value)
    except ZeroDivisionError:
        raise _refused("It divides by zero") from None
    except OverflowError:
        raise _refused("The result is too large") from None
    except (SyntaxError, MemoryError, RecursionError):
        raise _refused("It is not written as arithmetic, such as (2 + 3) * 4") from None
    except (ValueError, TypeError) as error:
        raise _refused(f"It has no value: {error}") from error


def _value(node: ast.expr) -> Number:
    match node:
        case ast.Constant(value=bool() | str() | bytes() | None | complex()):
            raise _refused("Only numbers can be calculated with")
        case ast.Constant(value=int() | float() as number):
            return _bounded(number)
        case ast.Name(id=name) if name.lower() in _CONSTANTS:
            return _CONSTANTS[name.lower()]
        case ast.Name(id=name):
            raise _refused(f"“{name}” is not known; known are {', '.join(_CONSTANTS)}")
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand)
        case ast.BinOp(left=left, op=op, right=right):
            return _bounded(_combined(op, _value(left), _value(right)))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            return _called(name, [_value(argument) for argument in arguments])
        case ast.Tuple():
            raise _refused("Write numbers without commas between thousands, and one expression at a time")
    raise _refused("Only numbers, + - * / // % ^, parentheses and functions can be calculated with")


def _combined(op: ast.operator, left: Number, right: Number) -> Number:
    match op:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.Div():
            return left / right
        case ast.FloorDiv():
            return left // right
        case ast.Mod():
            return left % right
        case ast.Pow():
            return _power(left, right)
    raise _refused("Only + - * / // % and ^ can be calculated with")


def _power(base: Number, exponent: Number) -> Number:
    whole = isinstance(base, int) and isinstance(exponent, int)
    if whole and abs(base) > 1 and abs(exponent) * int(base).bit_length() > 2 * _MOST_BITS:
        raise OverflowError
    result = operator.pow(base, exponent)
    if isinstance(result, complex):
        raise _refused("The result is not a real number")
    return result  # type: ignore[no-any-return]  # a power of two numbers


def _called(name: str, values: list[Number]) -> Number:
    known = _FUNCTIONS.get(name.lower())
    if known is None:
        raise _refused(f"There is no function “{name}”; known are {', '.join(_FUNCTIONS)}")
    function, least, most = known
    if not least <= len(values) <= most:
        raise _refused(f"“{name}” takes {least if least == most else f'{least} to {most}'} values")
    return _bounded(function(*values))


def _bounded(value: Number) -> Number:
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise OverflowError
    return value


def _shown(value: Number) -> str:
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        raise OverflowError
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else f"{value:.15g}"


def _refused(why: str) -> SlmDeskError:
    return SlmDeskError("expression_invalid", f"{why}.", "Write it another way.")
