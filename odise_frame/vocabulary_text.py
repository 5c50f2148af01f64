"""A vocabulary as the classifiers read it: every name through CLIP's text tower, once per vocabulary."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from odise_frame.clip import embed_texts
from odise_frame.ensembling import seen_categories
from odise_frame.frozen import FrozenParts
from odise_frame.open_vocabulary import Synonyms, prompted

_KEPT = 4
"""Vocabularies whose embeddings are kept: what a run uses, and a few that it is asked about besides."""


@dataclass(frozen=True, slots=True, eq=False)
class VocabularyText:
    """K categories with N names in all, D numbers each."""

    synonyms: Synonyms
    head_embed: Tensor
    """float `[N, D]`, not normalised: for the model's own classifier (label supervision: bare names; caption
    supervision: prompted)."""
    clip_embed: Tensor
    """float `[N, D]`, not normalised, prompted: for CLIP's classifier of masks."""
    seen: Tensor
    """bool `[K]`: which categories the mask generator was trained on."""


class VocabularyReader:
    """Vocabularies to `VocabularyText`; the last few are kept.

    Args:
        frozen: its CLIP encodes, on the device where it is.
        supervision: decides how names are put to the model's own classifier.
        training_names: all names of the training vocabulary.
    """

    def __init__(
        self, frozen: FrozenParts, supervision: Literal["label", "caption"], training_names: Iterable[str]
    ) -> None:
        self.frozen = frozen
        self.supervision = supervision
        self.training_names = frozenset(training_names)
        self._kept: OrderedDict[tuple[tuple[str, ...], ...], VocabularyText] = OrderedDict()

    def read(self, names: Sequence[Sequence[str]]) -> VocabularyText:
        """The names of every category, at least one each."""
        key = tuple(tuple(category) for category in names)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        synonyms = Synonyms.of(key)
        clip_embed = self._embed(prompted(synonyms.strings))
        head_embed = self._embed(synonyms.strings) if self.supervision == "label" else clip_embed
        text = VocabularyText(
            synonyms, head_embed, clip_embed, seen_categories(key, self.training_names).to(clip_embed.device)
        )
        self._kept[key] = text
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return text

    @torch.no_grad()
    def _embed(self, texts: Sequence[str]) -> Tensor:
        ids = self.frozen.tokenizer.clip_ids(texts)
        embed = embed_texts(self.frozen.clip, ids.to(self.frozen.empty_prompt.device))
        return embed.to(torch.promote_types(embed.dtype, torch.float32))
