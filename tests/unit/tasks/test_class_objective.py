"""The cross-entropy of classes against torch's, its weights and smoothing, and what early stopping sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.nn.functional import cross_entropy as torch_cross_entropy

from fusionbench.core.endpoints import ClassTargets, Task
from fusionbench.core.errors import DataError
from fusionbench.core.protocol import TrainRecipe
from fusionbench.tasks.class_objective import ClassObjective, cross_entropy

CPU = torch.device("cpu")
LABEL = torch.tensor([0, 2, 1, 1, 0, 2, 2])
LOGITS = torch.randn(7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)])
def test_the_loss_is_torch_s(smoothing: float, weights: torch.Tensor | None) -> None:
    ours = cross_entropy(LOGITS, LABEL, weights=weights, smoothing=smoothing)
    plain = torch_cross_entropy(LOGITS, LABEL, label_smoothing=smoothing, reduction="none")
    # torch weighs each class's part of a smoothed target, ours weighs the case
    expected = plain if weights is None else weights[LABEL] * plain
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


def test_one_logit_is_torch_s_binary_loss() -> None:
    label, logit = torch.tensor([0, 1, 1]), LOGITS[:3, :1]
    expected = binary_cross_entropy_with_logits(logit[:, 0], label.double(), reduction="none")
    torch.testing.assert_close(cross_entropy(logit, label), expected, rtol=1e-12, atol=1e-12)


def test_a_sure_and_wrong_logit_has_a_finite_loss_and_a_gradient() -> None:
    logits = torch.tensor([[200.0, -200.0], [-300.0, 300.0]], requires_grad=True)
    cross_entropy(logits, torch.tensor([1, 0])).sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())
    assert bool(logits.grad.any())


def objective(**recipe: object) -> ClassObjective:
    targets = ClassTargets(np.array([0, 0, 0, 1]))
    task = Task("binary", 2, classes=("no", "yes"))
    return ClassObjective.of(TrainRecipe.model_validate(recipe), targets, task, CPU)


def test_class_weights_come_from_the_training_cases_and_keep_the_scale() -> None:
    assert objective().weights.tolist() == [1.0, 1.0]
    weighted = objective(class_weights="inverse").weights
    assert weighted.tolist() == pytest.approx([2 / 3, 2.0])
    assert objective(class_weights="inverse", weight_sum="one").weights.sum() == pytest.approx(1.0)


def test_early_stopping_sees_the_plain_loss_or_the_loss_as_trained() -> None:
    label, logits = np.array([0, 1, 1]), LOGITS[:3, :2]
    recipe = {"class_weights": "inverse", "label_smoothing": 0.1}
    seen = objective(**recipe).validate(logits, ClassTargets(label))
    plain = torch_cross_entropy(logits, torch.from_numpy(label)).item()
    assert seen["val/loss"] == pytest.approx(plain)
    assert seen["val/auroc"] == pytest.approx(roc_auc_score(label, logits.softmax(dim=1)[:, 1].numpy()))
    trained = objective(**recipe, validation_loss="as-trained").validate(logits, ClassTargets(label))
    assert trained["val/loss"] != pytest.approx(plain)


def test_what_is_undefined_is_left_out() -> None:
    one_class = objective().validate(LOGITS[:2, :2], ClassTargets(np.array([1, 1])))
    assert one_class.keys() == {"val/loss"}
    assert objective().validate(LOGITS[:0, :2], ClassTargets(np.array([], dtype=np.int64))) == {}


def test_there_has_to_be_a_training_case() -> None:
    with pytest.raises(DataError, match="no training case"):
        ClassObjective.of(TrainRecipe(), ClassTargets(np.array([], dtype=np.int64)), Task("binary", 2), CPU)
