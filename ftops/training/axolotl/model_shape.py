"""How large a language model is, by its config.json: enough to count its parameters without loading one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ftops.digests import Json

LINEAR: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of a block of a transformer as Llama, Mistral, Qwen, Gemma and others name them."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder of blocks with attention and a gated feed-forward layer, as config.json describes it.

    `heads` attend, each `head_size` wide; `kv_heads` have keys and values. `experts` feed-forward layers stand in each
    block, of which `active` work on a token. `tied`: the output layer is the embedding.
    """

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    feed_forward: int
    vocabulary: int
    tied: bool = False
    experts: int = 1
    active: int = 1

    @classmethod
    def of(cls, config: Mapping[str, Json]) -> Shape | None:
        """The shape that a config.json tells; None where it is of another architecture."""
        text = config.get("text_config")
        tree = {**config, **text} if isinstance(text, dict) else config

        def number(*names: str) -> int | None:
            values = (tree.get(name) for name in names)
            return next(
                (each for each in values if isinstance(each, int) and not isinstance(each, bool) and each > 0), None
            )

        hidden, layers, heads = number("hidden_size"), number("num_hidden_layers"), number("num_attention_heads")
        experts = number("num_experts", "num_local_experts", "n_routed_experts") or 1
        feed_forward = number(*(("moe_intermediate_size",) if experts > 1 else ()), "intermediate_size")
        vocabulary = number("vocab_size")
        if hidden is None or layers is None or heads is None or feed_forward is None or vocabulary is None:
            return None
        return cls(
            hidden,
            layers,
            heads,
            number("num_key_value_heads") or heads,
            number("head_dim") or hidden // heads,
            feed_forward,
            vocabulary,
            tree.get("tie_word_embeddings") is True,
            experts,
            number("num_experts_per_tok") or 1,
        )

    @property
    def linear(self) -> Mapping[str, tuple[int, int, int]]:
        """Of each of LINEAR how many there are in a block, and the numbers of its inputs and outputs."""
        wide, narrow = self.heads * self.head_size, self.kv_heads * self.head_size
        return {
            "q_proj": (1, self.hidden, wide),
            "k_proj": (1, self.hidden, narrow),
            "v_proj": (1, self.hidden, narrow),
            "o_proj": (1, wide, self.hidden),
            "gate_proj": (self.experts, self.hidden, self.feed_forward),
            "up_proj": (self.experts, self.hidden, self.feed_forward),
            "down_proj": (self.experts, self.feed_forward, self.hidden),
        }

    @property
    def in_linear(self) -> int:
        """Parameters of the linear layers of all blocks: those that are quantised."""
        return self.layers * sum(count * inputs * outputs for count, inputs, outputs in self.linear.values())

    @property
    def embedding(self) -> int:
        """Parameters of the embedding, and as many of the output layer where that is another one."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All of them, biases apart: 8,030,261,248 for Llama 3.1 8B."""
        norms = (2 * self.layers + 1) * self.hidden
        routers = self.layers * self.experts * self.hidden if self.experts > 1 else 0
        return self.in_linear + norms + routers + self.embedding * (1 if self.tied else 2)
