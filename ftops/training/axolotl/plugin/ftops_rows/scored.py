"""For reward models (`type: ftops_rows.scored`): each pair as the tokens of two whole chats, of any number of turns."""

from __future__ import annotations

from typing import Any

from axolotl.prompt_tokenizers import DatasetWrappingStrategy
from axolotl.utils.chat_templates import get_chat_template_from_config


class Scored(DatasetWrappingStrategy):  # type: ignore[misc]  # Axolotl carries no types
    """Tokenises, and leaves out what is longer than `sequence_len`: cut off, an answer would be scored without its end."""

    def __init__(self, tokenizer: Any, template: str, sequence_len: int) -> None:
        self.tokenizer, self.template, self.sequence_len = tokenizer, template, sequence_len

    def wrap_dataset(
        self,
        dataset: Any,
        process_count: int | None = None,
        keep_in_memory: bool | None = False,
        **_: Any,
    ) -> Any:
        made = dataset.map(
            self.tokens, remove_columns=dataset.column_names, num_proc=process_count, keep_in_memory=keep_in_memory
        )
        return made.filter(self.fits, num_proc=process_count, keep_in_memory=keep_in_memory)

    def tokens(self, row: dict[str, Any]) -> dict[str, list[int]]:
        """The columns that TRL's trainer of reward models reads: `chosen_ids` and `rejected_ids`."""
        found = {}
        for name in ("chosen", "rejected"):
            text = self.tokenizer.apply_chat_template(
                [*row["messages"], row[name]], chat_template=self.template, tokenize=False
            )
            # The template has written the special tokens; the score is read at the last token, which ends the answer.
            found[f"{name}_ids"] = self.tokenizer(text.rstrip(), add_special_tokens=False)["input_ids"]
        return found

    def fits(self, row: dict[str, list[int]]) -> bool:
        return max(len(row["chosen_ids"]), len(row["rejected_ids"])) <= self.sequence_len


def load(tokenizer: Any, cfg: Any, ds_cfg: Any = None) -> Scored:
    """What Axolotl asks a module for that it finds by the type of a data set."""
    template = get_chat_template_from_config(cfg=cfg, ds_cfg=ds_cfg, tokenizer=tokenizer)
    return Scored(tokenizer, template, cfg.sequence_len)
