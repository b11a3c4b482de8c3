"""The table of Claude models."""

from datetime import date

from message_batches.claude_models import CLAUDE_MODELS, by_name


def test_every_name_is_of_one_model() -> None:
    assert len(by_name()) == len(CLAUDE_MODELS) + sum(model.alias is not None for model in CLAUDE_MODELS)
    assert all(model.alias is None or model.id.startswith(f"{model.alias}-20") for model in CLAUDE_MODELS)


def test_the_latest_come_first_and_the_deprecated_have_a_day_of_retirement() -> None:
    released = [model.released for model in CLAUDE_MODELS if model.released]

    assert released == sorted(released, reverse=True)
    assert all((model.lifecycle == "deprecated") == (model.retires_at is not None) for model in CLAUDE_MODELS)
    assert by_name()["claude-sonnet-4-5"].retires_at == date(2026, 11, 30)


def test_the_largest_output_depends_on_the_model_and_the_beta() -> None:
    names = ("claude-opus-5", "claude-haiku-4-5", "claude-opus-4-1")
    models = [by_name()[name] for name in names]

    assert [model.output_limit() for model in models] == [128_000, 64_000, 32_000]
    assert [model.output_limit(long_output=True) for model in models] == [300_000, 64_000, 32_000]
