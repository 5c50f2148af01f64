"""The cut vocabulary and the way rows are laid out."""

from hypothesis import given
from hypothesis import strategies as st

from odise_frame.sizes import load_size
from odise_frame.tokenizer import Tokenizer

SMALL = Tokenizer(load_size("small").clip)
FULL = Tokenizer(load_size("odise-label").clip)


def test_the_cut_vocabulary_has_bytes_merges_and_two_marks() -> None:
    assert SMALL.vocab_size == 512 + 4000 + 2
    assert (SMALL.start, SMALL.end) == (4512, 4513)
    assert (FULL.start, FULL.end) == (49406, 49407)


def test_it_is_the_beginning_of_the_full_one() -> None:
    # Short common words need early merges only, so both vocabularies agree on them.
    texts = ["the red car", "a man in the water"]
    for small, full in zip(SMALL.clip_ids(texts), FULL.clip_ids(texts), strict=True):
        end = int((small == SMALL.end).nonzero()[0])
        assert small[1:end].tolist() == full[1:end].tolist()


@given(st.text(max_size=80))
def test_any_text_makes_a_row_of_known_ids_with_one_end(text: str) -> None:
    row = SMALL.clip_ids([text])[0]
    assert row.shape == (SMALL.context_length,)
    assert row[0] == SMALL.start
    assert 0 <= int(row.min()) <= int(row.max()) < SMALL.vocab_size
    # CLIP finds the end as the largest id.
    end = int(row.argmax())
    assert row[end] == SMALL.end
    assert not row[end + 1 :].any()
    prompt = SMALL.prompt_ids([text])[0]
    assert (prompt[end:] == SMALL.end).all()
    assert (prompt[:end] == row[:end]).all()


def test_case_and_spaces_do_not_matter() -> None:
    rows = SMALL.clip_ids(["Red  CAR", " red car "])
    assert (rows[0] == rows[1]).all()


def test_long_texts_keep_their_end() -> None:
    row = SMALL.clip_ids(["unicorn " * 60])[0]
    assert row[-1] == SMALL.end
