"""What a mask is called: its embedding against the embeddings of words.

Xu et al., ODISE, CVPR 2023, section 3.4. Names of categories are encoded by CLIP's text tower elsewhere; here their
embeddings are projected into the space of the mask embeddings and compared by angle.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PROMPT = "a photo of a {}."
"""Around each name for CLIP's own classifier, and for the caption-supervised head; the label-supervised head takes
names bare."""


def prompted(names: Sequence[str]) -> list[str]:
    """Each name in the prompt."""
    return [PROMPT.format(name) for name in names]


@dataclass(frozen=True, slots=True)
class Synonyms:
    """All strings of a vocabulary in one row, and which of them belong to which category."""

    strings: tuple[str, ...]
    """N strings, category by category."""
    index: Tensor
    """int64 `[K, S]`: the strings of every category; categories with fewer than S repeat their last."""

    @classmethod
    def of(cls, names: Sequence[Sequence[str]]) -> "Synonyms":
        """From the names of every category, at least one each (`[category.names for category in vocabulary]`)."""
        counts = torch.tensor([len(category) for category in names])
        if len(names) == 0 or bool((counts == 0).any()):
            raise ValueError(f"every category needs a name, got {[list(category) for category in names]}")
        starts = counts.cumsum(0) - counts
        place = torch.arange(int(counts.max()))
        index = starts[:, None] + torch.minimum(place[None, :], counts[:, None] - 1)
        return cls(tuple(name for category in names for name in category), index)

    def __len__(self) -> int:
        """Number of categories."""
        return len(self.index)

    def best(self, logits: Tensor) -> Tensor:
        """`[..., N]` per string to `[..., K]` per category: its best synonym's."""
        if self.index.shape[1] == 1:
            return logits
        return logits[..., self.index.to(logits.device)].amax(dim=-1)


def cosine_logits(mask_embed: Tensor, text_embed: Tensor, scale: Tensor | float) -> Tensor:
    """Scaled cosines of masks `[..., Q, D]` and texts `[N, D]` or `[..., N, D]`: `[..., Q, N]`."""
    return scale * (F.normalize(mask_embed, dim=-1) @ F.normalize(text_embed, dim=-1).transpose(-1, -2))


class CategoryHead(nn.Module):
    """Label supervision: the void is an embedding of its own beside the categories' texts.

    Parameters are named as in the released checkpoints below `category_head.`.
    """

    def __init__(self, text_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.text_proj = nn.Linear(text_dim, hidden_dim)
        # Training starts it at CLIP's embedding of the empty string.
        self.null_embed = nn.Parameter(torch.zeros(1, text_dim))

    def forward(self, mask_embed: Tensor, text_embed: Tensor, synonyms: Synonyms, scale: Tensor) -> Tensor:
        """Args:
            mask_embed: `[..., Q, D]`.
            text_embed: `[N, text_dim]` of the bare names, straight from CLIP.
            synonyms: of those N strings.
            scale: `MaskPredictions.logit_scale`.

        Returns:
            logits `[..., Q, K + 1]`, void last.
        """
        projected = self.text_proj(torch.cat([text_embed, self.null_embed]))
        return category_logits(mask_embed, projected, synonyms, scale)


def category_logits(mask_embed: Tensor, projected: Tensor, synonyms: Synonyms, scale: Tensor | float) -> Tensor:
    """`CategoryHead` from already projected texts `[N + 1, D]`, the void's last."""
    logits = cosine_logits(mask_embed, projected, scale)
    return torch.cat([synonyms.best(logits[..., :-1]), logits[..., -1:]], dim=-1)


class WordHead(nn.Module):
    """Caption supervision: no void here, the mask generator's two class logits tell it.

    Parameters are named as in the released checkpoints below `word_head.`.
    """

    def __init__(self, text_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.text_proj = nn.Linear(text_dim, hidden_dim)

    def forward(self, mask_embed: Tensor, text_embed: Tensor, synonyms: Synonyms, scale: Tensor) -> Tensor:
        """As `CategoryHead`, of prompted names; logits `[..., Q, K]` without void."""
        return synonyms.best(cosine_logits(mask_embed, self.text_proj(text_embed), scale))
