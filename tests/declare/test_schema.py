"""Laws of the values that the schemas accept."""

from pathlib import Path

import pytest
from dagster import AssetKey
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from phyagi_assets.declare.corpus_schema import CorpusConfig
from phyagi_assets.declare.mixture_schema import MixtureConfig
from phyagi_assets.store.local import LocalStore

CORPUS = {"name": "one", "source": {"path": "x"}, "tokenizer": "t"}
MIXTURE = {"name": "mix", "datasets": [{"corpus": "one"}]}


def takes(model: type[BaseModel], **keys: object) -> bool:
    try:
        model.model_validate(keys)
    except ValidationError:
        return False
    return True


@example(name="a" * 100)
@example(name="a" * 101)
@example(name="a\n")
@given(name=st.text(max_size=8) | st.from_regex(r"[\w.-]{1,120}", fullmatch=True))
def test_valid_name_is_one_folder_and_one_part_of_an_asset_key(name: str) -> None:
    corpus, mixture = takes(CorpusConfig, **CORPUS | {"name": name}), takes(MixtureConfig, **MIXTURE | {"name": name})
    assert corpus == mixture == (name.isascii() and name.replace("_", "a").isalnum() and name[0] != "_" and len(name) <= 100)
    if corpus:
        assert LocalStore(Path("/store")).pointer(f"{name}/stage") == Path("/store", name, "stage")
        assert AssetKey([name, "stage"]).path == [name, "stage"]


@given(shares=st.dictionaries(st.sampled_from(["validation", "test"]), st.floats()))
def test_shares_leave_something_to_train_on(shares: dict[str, float]) -> None:
    fit = all(1e-6 <= share < 1 for share in shares.values()) and sum(shares.values()) < 1
    assert takes(CorpusConfig, **CORPUS, splits=shares) == fit


@given(weight=st.floats())
def test_weight_is_between_one_millionth_and_one_million(weight: float) -> None:
    assert takes(MixtureConfig, **MIXTURE | {"datasets": [{"corpus": "one", "weight": weight}]}) == (1e-6 <= weight <= 1e6)


@pytest.mark.parametrize(
    ("rule", "right"),
    [
        ("none", True),
        ("file", True),
        (r"(\d+)", True),
        (r"(?:a|b)-(?P<part>.)", True),
        ("", False),
        ("a", False),
        ("(a)(b)", False),
        ("(", False),
    ],
)
def test_partition_regex_has_one_group(rule: str, right: bool) -> None:
    assert takes(CorpusConfig, **CORPUS, partition_by=rule) == right


def test_declarations_are_immutable() -> None:
    mixture = MixtureConfig.model_validate(MIXTURE)
    corpus = CorpusConfig.model_validate(CORPUS)
    for model in (mixture, mixture.datasets[0], corpus, corpus.source):
        for key in type(model).model_fields:
            with pytest.raises(ValidationError, match="frozen"):
                setattr(model, key, None)
