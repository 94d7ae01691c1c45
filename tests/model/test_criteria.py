"""Accept criteria as they are written."""

import pytest

from model.criteria import Criterion, parse
from model.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("escapes<=2%", Criterion("escapes", 0.02)),
        (" Escapes <= 2 %".lower(), Criterion("escapes", 0.02)),
        ("escapes <= 0.02", Criterion("escapes", 0.02)),
        ("escapes≤2.9%", Criterion("escapes", 0.029)),
        ("escapes[crack]<=5%", Criterion("escapes", 0.05, "crack")),
        ("escapes[deep crack <b>]<=5% at 95%", Criterion("escapes", 0.05, "deep crack <b>", 0.95)),
        ("false_rejects<=1% at 0.9", Criterion("false-rejects", 0.01, None, 0.9)),
        ("false-rejects<=0%", Criterion("false-rejects", 0.0)),
        ("image-auroc>=98%", Criterion("image-auroc", 0.98)),
        ("aupro ≥ .9", Criterion("aupro", 0.9)),
    ],
)
def test_criteria_are_read(text, expected):
    criterion = parse(text)
    assert criterion == expected
    assert parse(criterion.text) == criterion


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a criterion; allowed: escapes<=2%"),
        ("recall>=90%", "is not a criterion; allowed: escapes<=2%"),
        ("escapes=2%", "is not a criterion"),
        ("escapes<=2% at", "is not a criterion"),
        ("escapes<=-2%", "is not a criterion"),
        ("escapes<=2", "give a share as 2% or 0.02, got 2"),
        ("escapes<=1", "give a share as 2% or 0.02, got 1"),
        ("escapes<=101%", "give a share as 2% or 0.02, got 101%"),
        ("escapes>=2%", "escapes takes <="),
        ("aupro<=90%", "aupro takes >="),
        ("aupro[crack]>=90%", "only escapes are by kind"),
        ("escapes<=2% at 100%", "from 50% to below 100%"),
        ("escapes<=2% at 5%", "from 50% to below 100%"),
    ],
)
def test_other_text_is_refused_with_the_allowed_criteria(text, message):
    with pytest.raises(ConfigError) as refused:
        parse(text)
    assert message in str(refused.value)
