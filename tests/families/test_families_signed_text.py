"""The signed text: two forms, read from the right, nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verify.engine.errors import FormatError
from verify.engine.reason import Reason
from verify.families.signed_text import MAX_TEXT, parse_signed_text

A, B, C = "a" * 64, "b" * 64, "c" * 64


def test_parse_two_part_text_names_no_model() -> None:
    parsed = parse_signed_text(f"{A}:{B}")
    assert parsed.model is None
    assert (parsed.request_hash.hex(), parsed.response_hash.hex()) == (A, B)


@pytest.mark.parametrize("model", ["Qwen/Qwen3.5-122B-A10B", "a:b", "x::y", ":", "zürich"])
def test_parse_three_part_text_names_the_model(model: str) -> None:
    parsed = parse_signed_text(f"{model}:{A}:{B}")
    assert parsed.model == model
    assert parsed.text == f"{model}:{A}:{B}"


@pytest.mark.parametrize(
    "text",
    [
        f":{A}:{B}",
        f"m:{A}",
        f"{A}:{B[1:]}",
        f"{A.upper()}:{B}",
        f"{A}:{B} ",
        f"m:{A}:{B}\n",
        f"m:x:{B}",
        f"0x{A}:{B}",
        "m" * MAX_TEXT + f":{A}:{B}",
    ],
)
def test_parse_fields_that_are_no_hashes_is_text_malformed(text: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_signed_text(text)
    assert caught.value.reason is Reason.SIGNATURE_TEXT_MALFORMED


@pytest.mark.parametrize(
    "text",
    [
        "",
        "text",
        A,
        f"{A}:{B}:{C}",
        f"{A}:{B}:centralized:identity:{C}",
        f"{A}:{B}:centralized:{C}:{C}",
        f"zg-sig-v1/e2ee-ct:{A}:{B}",
    ],
)
def test_parse_form_of_another_system_is_text_form_unknown(text: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_signed_text(text)
    assert caught.value.reason is Reason.SIGNATURE_TEXT_FORM_UNKNOWN


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([A, B, "", "m", "zg-sig-v1/x"]) | st.text(max_size=5), max_size=5))
def test_parse_any_fields_give_the_same_text_again_or_a_format_error(fields: list[str]) -> None:
    text = ":".join(fields)
    try:
        parsed = parse_signed_text(text)
    except FormatError as error:
        reason = error.reason
    else:
        assert parsed.text == text
        return
    assert reason in {Reason.SIGNATURE_TEXT_MALFORMED, Reason.SIGNATURE_TEXT_FORM_UNKNOWN}
