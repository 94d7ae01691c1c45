"""Manifests as a stranger could write them: a real one with replaced values."""

import json
from copy import deepcopy

from hypothesis import strategies as st

RAW = {
    "@nan": "NaN",
    "@infinity": "-Infinity",
    "@huge": "1e999",
    "@digits": "1" * 5000,
    "@deep": "[" * 100_000,
    "@nested": "[" * 500 + "]" * 500,
    "@twice": '{"a": 1, "a": 2}',
}
"""Values that no JSON library writes, by their placeholder."""

VALUES = st.one_of(
    st.sampled_from([0, -1, 1, 2, 3, 7, 64, 10**6, 2**31, 2**53, 10**18, 2**63 - 1, -(2**63) + 1]),
    st.sampled_from([0.0, -0.0, 1e-320, 0.5, 1 - 1e-16, 1.0, 1e30, 1.1e30, -1e300, 1e308]),
    st.sampled_from([None, True, False, "", "0", "x" * 20_000, "../../etc/passwd", "a\0b\n"]),
    st.sampled_from([[], {}, [[]], [0, 0], [2048, 2048], [1] * 4, [48] * 4, {"a": []}, {"": 0}]),
    st.sampled_from([[0] * 9000, [[0.5, 0.5]] * 3000, {str(n): n for n in range(3000)}]),
    st.sampled_from(list(RAW)),
    st.integers(-(2**62), 2**62),
    st.floats(allow_nan=False, allow_infinity=False),
)


def places(value, path=()):
    """Yield the path of every value inside another."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, key))


@st.composite
def hostile(draw, manifest, within=None):
    """Draw a manifest with one to three changes, all in the field `within` if given."""
    values = deepcopy(manifest)
    for _ in range(draw(st.integers(1, 3))):
        paths = [path for path in places(values) if within is None or path[0] == within]
        if not paths:
            break
        *parents, last = draw(st.sampled_from(paths))
        holder = values
        for parent in parents:
            holder = holder[parent]
        if draw(st.integers(0, 9)) == 0:
            del holder[last]
        else:
            holder[last] = deepcopy(draw(VALUES))
    text = json.dumps(values)
    for name, raw in RAW.items():
        text = text.replace(json.dumps(name), raw)
    return text
