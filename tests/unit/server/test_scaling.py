"""What a trigger of KEDA may say."""

import pytest

from aiki_server.core.scaling import Trigger, TriggerError


def test_defaults_and_names() -> None:
    """Nothing needs to be said; what is said names the figure in letters that KEDA takes."""
    assert Trigger.parse({}) == Trigger(namespace="default", queue="default", target=10.0)

    trigger = Trigger.parse(
        {
            "queue": "gpu:a100",
            "namespace": "shop",
            "target": "2.5",
            "scalerAddress": "a:1",
            "enableTLS": "true",
        }
    )

    assert (trigger.queue, trigger.target, trigger.metric) == ("gpu:a100", 2.5, "aiki-shop-gpu-a100")


@pytest.mark.parametrize("target", ["0", "-1", "many", "nan", "inf"])
def test_a_target_is_a_positive_number(target: str) -> None:
    """Else there would be no workers, or endlessly many."""
    with pytest.raises(TriggerError, match="target"):
        Trigger.parse({"target": target})


def test_an_unknown_key_is_named() -> None:
    """A typo is not taken for a default."""
    with pytest.raises(TriggerError, match=r"queu.*queue, namespace, target"):
        Trigger.parse({"queu": "reports"})
