"""The cross entropy of every token, and the scalar loss computed from it."""

import torch


def token_losses(logits: torch.Tensor, labels: torch.Tensor, *, shift_labels: bool, ignore_index: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the cross entropy at each token, in 32-bit floating point, as ``transformers`` does for causal language models.

    Parameters
    ----------
    logits
        Output of the model, of shape (samples, seq_len, vocabulary).
    labels
        Labels, of shape (samples, seq_len).
    shift_labels
        Whether labels are already the next token.
    ignore_index
        Label that the loss ignores.

    Returns
    -------
    tuple of torch.Tensor
        Loss at each token, which is that of predicting the token after it, and 0 if it is ignored; and the labels that it was computed
        with; both of shape (samples, seq_len).
    """
    targets = labels.to(logits.device)
    if not shift_labels:
        targets = torch.nn.functional.pad(targets, (0, 1), value=ignore_index)[..., 1:]
    flat = torch.nn.functional.cross_entropy(
        logits.float().view(-1, logits.shape[-1]), targets.reshape(-1), ignore_index=ignore_index, reduction="none"
    )
    return flat.view(targets.shape), targets


def reduced(
    losses: torch.Tensor, targets: torch.Tensor, num_items_in_batch: torch.Tensor | int | None, *, ignore_index: int
) -> torch.Tensor:
    """Return the sum of the losses of tokens, divided by a number of tokens; if None, by the number of targets that are not ignored."""
    count = (targets != ignore_index).sum() if num_items_in_batch is None else num_items_in_batch
    return losses.sum() / (count.to(losses.device) if isinstance(count, torch.Tensor) else count)
