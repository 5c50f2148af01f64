"""Text to byte-pair ids, the way OpenAI's CLIP does it, with the vocabulary that a size asks for."""

from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import as_file, files

import torch
from open_clip.tokenizer import SimpleTokenizer, default_bpe
from torch import Tensor

from odise_frame import tokens
from odise_frame.sizes import ClipSize

_FULL_VOCABULARY = 49408
_CUT_VOCABULARY = 4514  # 512 bytes, 4,000 merges, start and end


class Tokenizer:
    """Lower-cases, cleans and splits text into ids.

    Every row is start, text, end; texts that are too long are cut so that end stays last. The two paddings differ:
    CLIP pads with 0, Stable Diffusion with the end id.
    """

    def __init__(self, size: ClipSize) -> None:
        self.context_length = size.context_length
        self._tokenizer = _load(size.vocab_size)

    @property
    def vocab_size(self) -> int:
        return int(self._tokenizer.vocab_size)

    @property
    def start(self) -> int:
        """The id that every row starts with."""
        return int(self._tokenizer.sot_token_id)

    @property
    def end(self) -> int:
        """The id that ends the text: the largest of all, which is how CLIP finds it."""
        return int(self._tokenizer.eot_token_id)

    def clip_ids(self, texts: Sequence[str]) -> Tensor:
        """int64 `[len(texts), context_length]`, padded with 0."""
        return self._ids(texts, padding=0)

    def prompt_ids(self, texts: Sequence[str]) -> Tensor:
        """int64 `[len(texts), context_length]`, padded with the end id, as Stable Diffusion's prompts are."""
        return self._ids(texts, padding=self.end)

    def _ids(self, texts: Sequence[str], padding: int) -> Tensor:
        ids = torch.full((len(texts), self.context_length), padding, dtype=torch.int64)
        for row, text in zip(ids, texts, strict=True):
            words = self._tokenizer.encode(text)[: self.context_length - 2]
            row[: len(words) + 2] = torch.tensor([self.start, *words, self.end])
        return ids


@lru_cache
def _load(vocab_size: int) -> SimpleTokenizer:
    if vocab_size == _FULL_VOCABULARY:
        return SimpleTokenizer(default_bpe())
    if vocab_size == _CUT_VOCABULARY:
        with as_file(files(tokens) / "bpe_4000.txt.gz") as path:
            return SimpleTokenizer(str(path))
    raise ValueError(f"There are vocabularies of {_CUT_VOCABULARY} and {_FULL_VOCABULARY} ids, not of {vocab_size}.")
