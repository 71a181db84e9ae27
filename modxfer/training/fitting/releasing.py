"""Taking a model back from a trainer."""

from typing import Any


def release(trainer: Any) -> None:
    """Take what a trainer has put around a model off it, and give back the optimiser's memory.

    Args:
        trainer: The trainer; of no more use.
    """
    model = trainer.model
    trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    # The mark would make the next trainer take the model as it is: in fp32, and not shared with other processes.
    vars(model).pop("_is_accelerate_prepared", None)
    model.zero_grad(set_to_none=True)
    for holder in (trainer, trainer.callback_handler):
        holder.optimizer = holder.lr_scheduler = None
    trainer.model_wrapped = model
    if trainer.args.device.type != "cpu":  # on a CPU there is no cache to empty, and the collection that goes with it is slow
        trainer.accelerator.free_memory()
