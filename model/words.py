"""The words that name folders, splits and labels, in one table for every layout.

    Words().meaning("OK parts")    good
    Words().meaning("NG")          defective
    Words().meaning("test_good")   split test, good

Case, accents, width, separators, a plural "s" and filler words ("images", "parts", "Teile") are
ignored. The user's names (`--good NAME`, `--defective NAME`) take precedence.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from model.errors import DatasetError

GOOD_WORDS = (
    "good", "ok", "okay", "normal", "pass", "passed", "accept", "accepted", "conform",
    "conforming", "intact", "undamaged", "flawless", "healthy",
    "non-defective", "not defective", "non-anomalous", "not anomalous", "defect-free", "no defect",
    "no defects", "without defect", "without defects", "anomaly-free", "no anomaly",
    "no anomalies", "fault-free", "no fault",
    "io", "i.o.", "in ordnung", "gut", "gute", "gutteil", "gutteile", "fehlerfrei", "fehlerlos",
    "bon", "bons", "bonne", "bonnes", "conforme", "conformes", "sans défaut", "bueno", "buenos",
    "buena", "buenas", "buono", "buoni", "buona", "buone", "bom", "bons", "goed", "dobry", "dobre",
    "godkänd", "iyi", "sağlam", "норма", "годен", "годные", "хороший", "хорошие",
    "正常", "正常品", "良品", "良", "好", "好品", "合格", "合格品", "正品", "无缺陷", "無缺陷",
    "양품", "정상", "합격",
)  # fmt: skip
DEFECTIVE_WORDS = (
    "bad", "ng", "n.g.", "nok", "n.ok", "not ok", "not okay", "no good", "not good", "ko",
    "defect", "defective", "abnormal", "not normal", "anomaly", "anomalies", "anomalous", "fail",
    "failed", "failure", "fault", "faulty", "reject", "rejected", "damaged", "non-conforming",
    "not conforming", "nonconform", "unhealthy",
    "nio", "n.i.o.", "nicht ok", "nicht in ordnung", "fehler", "fehlerhaft", "defekt", "defekte",
    "schlecht", "schlechte", "schlechtteil", "schlechtteile", "ausschuss",
    "mauvais", "défaut", "défectueux", "rebut", "non conforme", "no conforme", "malo", "defecto",
    "defectuoso",
    "difetto", "difetti", "difettoso", "difettosi", "scarto", "scarti", "defeito", "ruim",
    "slecht", "fout", "afkeur", "брак", "дефект", "дефекты", "аномалия", "аномалии",
    "异常", "異常", "不良", "不良品", "次品", "缺陷", "不合格", "不合格品", "坏", "坏品", "瑕疵",
    "废品", "欠陥", "불량", "불량품", "결함", "비정상", "이상", "불합격",
)  # fmt: skip
SPLIT_WORDS = MappingProxyType({
    "train": ("train", "training", "训练", "训练集", "訓練", "学習", "학습", "훈련"),
    "test": ("test", "testing", "测试", "测试集", "測試", "テスト", "테스트"),
    "held_out": (
        "held-out", "heldout", "calibration", "validation", "valid", "val", "validierung",
        "kalibrierung", "验证", "验证集", "驗證", "検証", "검증",
    ),
})  # fmt: skip
MASK_WORDS = (
    "mask", "ground-truth", "gt", "segmentation", "maske", "masken", "掩码", "掩膜", "マスク",
)  # fmt: skip
_FILLERS = frozenset({
    "image", "img", "picture", "pic", "photo", "bild", "bilder", "foto", "part", "teil", "teile",
    "sample", "data", "dataset", "file", "item", "piece", "product", "split", "set", "folder",
    "public", "private", "mixed",
})  # fmt: skip
_LISTED_GOOD = frozenset({"0", "false"})
_LISTED_DEFECTIVE = frozenset({"1", "true"})
_SEPARATORS = re.compile(r"[\W_]+")
_DATE = re.compile(
    r"(19|20)\d\d([-_. ]?(0[1-9]|1[0-2])([-_. ]?(0[1-9]|[12]\d|3[01]))?)?([-_. T]\d[\d\-_.:h]*)?"
    r"|(0[1-9]|[12]\d|3[01])[-_. ](0[1-9]|1[0-2])[-_. ](19|20)?\d\d"
    r"|(19|20)\d\d[-_. ]?(kw|w|cw)[-_. ]?\d\d?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Meaning:
    """The meaning of a folder's name: its split, whether its parts are good or it has masks.

    A `filler` has no meaning ("images", "data"); a `date` is never a kind of part. `given`: the
    user named the folder.
    """

    split: str | None = None
    good: bool | None = None
    mask: bool = False
    filler: bool = False
    date: bool = False
    given: bool = False

    @property
    def is_name(self) -> bool:
        """Whether it names a category or a kind of defect."""
        roles = self.split is not None or self.good is not None or self.mask
        return not (roles or self.filler or self.date)


@dataclass(frozen=True, slots=True)
class Words:
    """The table, and the user's names, which take precedence over it."""

    good: frozenset[str] = frozenset()
    defective: frozenset[str] = frozenset()
    categories: frozenset[str] = frozenset()

    @classmethod
    def given(
        cls,
        good: Iterable[str] | None = None,
        defective: Iterable[str] | None = None,
        categories: Iterable[str] | None = None,
    ) -> "Words":
        """Accept names in any case; raises `DatasetError` for a contradiction."""
        words = cls(*(frozenset(map(fold, names or ())) for names in (good, defective, categories)))
        both = sorted(words.good & words.defective)
        if both:
            raise DatasetError(f"--good and --defective both name {both[0]!r}: give it to only one")
        return words

    def meaning(self, name: str) -> Meaning:
        """Return the meaning of a folder's name."""
        meaning = _meaning(name)
        folded = fold(name)
        if folded in self.good or folded in self.defective:
            return Meaning(split=meaning.split, good=folded in self.good, given=True)
        return meaning

    def is_good(self, label: str) -> bool | None:
        """Whether a label in a list means good; None for other labels, such as kinds of defect."""
        meaning = self.meaning(label)
        if meaning.given or (meaning.good is not None and not (meaning.split or meaning.mask)):
            return meaning.good
        folded = fold(label)
        return folded in _LISTED_GOOD if folded in _LISTED_GOOD | _LISTED_DEFECTIVE else None

    @staticmethod
    def sounds_good(name: str) -> bool:
        """Whether a name contains a word for good parts, such as "good_cam2"."""
        return any(_WORDS.get(token) == (None, True) for token in _tokens(name))

    def __bool__(self) -> bool:
        """Whether the user gave any name."""
        return bool(self.good or self.defective)


def fold(name: str) -> str:
    """Return a name with case, width and Unicode composition normalised."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", name).casefold()).strip()


def split_of(name: str) -> str | None:
    """Return the split of a name (train, test or held_out), or None."""
    return _meaning(name).split


def _tokens(name: str) -> list[str]:
    """Return a name's words in lower case without accents."""
    apart = unicodedata.normalize("NFKD", fold(name))
    plain = "".join(c for c in apart if unicodedata.category(c) != "Mn" or ord(c) > 0x3000)
    return [t for t in _SEPARATORS.split(unicodedata.normalize("NFC", plain)) if t]


def _joined(word: str) -> str:
    return "".join(_tokens(word))


_WORDS: dict[str, tuple[str | None, bool | None]] = {
    **{_joined(word): (None, True) for word in GOOD_WORDS},
    **{_joined(word): (None, False) for word in DEFECTIVE_WORDS},
    **{_joined(word): (split, None) for split, words in SPLIT_WORDS.items() for word in words},
    **{_joined(word): ("mask", None) for word in MASK_WORDS},
}
_LONGEST = 4


def _word(tokens: list[str]) -> tuple[str | None, bool | None] | None:
    joined = "".join(tokens)
    return _WORDS.get(joined) or _WORDS.get(joined.removesuffix("s"))


@lru_cache(maxsize=65536)
def _meaning(name: str) -> Meaning:
    if _DATE.fullmatch(name.strip()):
        return Meaning(date=True)
    tokens = _tokens(name)
    roles: list[tuple[str | None, bool | None]] = []
    fillers, start = 0, 0
    while start < len(tokens):
        for end in range(min(len(tokens), start + _LONGEST), start, -1):
            word = _word(tokens[start:end])
            if word is not None:
                roles.append(word)
                start = end
                break
        else:
            if tokens[start].removesuffix("s") not in _FILLERS:
                return Meaning()
            fillers += 1
            start += 1
    return _together(roles, fillers)


def _together(roles: list[tuple[str | None, bool | None]], fillers: int) -> Meaning:
    """Combine the roles of a name's words; a contradiction makes it an ordinary name."""
    splits = {split for split, _ in roles if split not in {None, "mask"}}
    labels = {good for _, good in roles if good is not None}
    if len(splits) > 1 or len(labels) > 1:
        return Meaning()
    return Meaning(
        split=next(iter(splits), None),
        good=next(iter(labels), None),
        mask=any(split == "mask" for split, _ in roles),
        filler=not roles and fillers > 0,
    )
