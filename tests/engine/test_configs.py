"""Sizes of networks: FLUX's by default, complete after a journey through JSON, refused where they contradict."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest

from flux_engine.configs import (
    CLIP_L,
    FLUX_DEV,
    FLUX_SCHNELL,
    FLUX_VAE,
    T5_XXL,
    CLIPTextConfig,
    NetworkConfig,
    T5Config,
    TransformerConfig,
    VAEConfig,
)
from flux_engine.errors import ConfigError, FluxError

FULL_SIZE = [FLUX_DEV, FLUX_SCHNELL, FLUX_VAE, CLIP_L, T5_XXL]


@pytest.mark.parametrize("config", FULL_SIZE, ids=lambda config: f"{config.component}")
def test_a_config_comes_back_from_json(config: NetworkConfig) -> None:
    raw = json.loads(json.dumps(config.to_dict()))
    assert set(raw) == {field.name for field in dataclasses.fields(config)}
    assert type(config).from_dict(raw) == config


@pytest.mark.parametrize("kind", [TransformerConfig, VAEConfig, CLIPTextConfig, T5Config])
def test_what_is_left_out_is_fluxs_and_what_is_unknown_is_ignored(kind: type[NetworkConfig]) -> None:
    assert kind.from_dict({"_class_name": "Anything", "dropout": 0.1}) == kind()


def test_derived_sizes() -> None:
    assert (FLUX_DEV.head_dim, FLUX_DEV.mlp_dim) == (128, 12288)
    assert FLUX_VAE.downsampling == 8
    assert not FLUX_SCHNELL.guidance_embeds


def test_whole_numbers_are_taken_for_floats_and_lists_for_tuples() -> None:
    config = TransformerConfig.from_dict({"mlp_ratio": 2, "theta": 500, "axes_dims_rope": [16, 56, 56]})
    assert config == TransformerConfig(mlp_ratio=2.0, theta=500.0)
    assert type(config.mlp_ratio) is float and type(config.axes_dims_rope) is tuple


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (TransformerConfig, "hidden_dim", "3072"),
        (TransformerConfig, "hidden_dim", 3072.0),
        (TransformerConfig, "hidden_dim", None),
        (TransformerConfig, "hidden_dim", True),
        (TransformerConfig, "guidance_embeds", 1),
        (TransformerConfig, "mlp_ratio", "4"),
        (TransformerConfig, "mlp_ratio", math.inf),
        (TransformerConfig, "theta", math.nan),
        (TransformerConfig, "axes_dims_rope", 16),
        (TransformerConfig, "axes_dims_rope", [16, 56.0, 56]),
        (TransformerConfig, "axes_dims_rope", (None, None, None)),
        (VAEConfig, "scaling_factor", None),
        (VAEConfig, "block_out_channels", ["128"]),
        (CLIPTextConfig, "eos_token_id", [2]),
        (T5Config, "layer_norm_epsilon", "1e-6"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(kind: type[NetworkConfig], name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        kind.from_dict({name: value})
    assert str(caught.value).startswith(f"{kind.component}: {name} is {value!r}; expected ")
    assert "config.json" in caught.value.hint


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (TransformerConfig, {"hidden_dim": 3073}, "3073 is not a multiple of num_heads"),
        (TransformerConfig, {"num_heads": 12}, r"\(16, 56, 56\) adds up to 128; expected head_dim 256"),
        (TransformerConfig, {"axes_dims_rope": (64, 64)}, "expected three even numbers"),
        (TransformerConfig, {"axes_dims_rope": (15, 57, 56)}, "expected three even numbers"),
        (TransformerConfig, {"axes_dims_rope": (0, 64, 64)}, "expected three even numbers"),
        (TransformerConfig, {"num_heads": 0}, "must be positive"),
        (TransformerConfig, {"in_channels": -64}, "must be positive"),
        (TransformerConfig, {"mlp_ratio": 0.0}, "must be positive"),
        (TransformerConfig, {"theta": 0.0}, "must be positive"),
        (TransformerConfig, {"mlp_ratio": 1e-9}, "mlp_ratio 1e-09 leaves the MLP of width 3072 nothing"),
        (TransformerConfig, {"num_double_layers": 0}, "needs a double and a single block"),
        (TransformerConfig, {"num_single_layers": 0}, "needs a double and a single block"),
        (VAEConfig, {"block_out_channels": ()}, "empty"),
        (VAEConfig, {"block_out_channels": (128, 100)}, "multiples of norm_num_groups 32"),
        (VAEConfig, {"block_out_channels": (0, 32)}, "multiples of norm_num_groups 32"),
        (VAEConfig, {"latent_channels": 0}, "must be positive"),
        (VAEConfig, {"norm_num_groups": 0}, "must be positive"),
        (VAEConfig, {"scaling_factor": 0.0}, "expected above 0"),
        (CLIPTextConfig, {"hidden_size": 770}, "770 is not a multiple of num_attention_heads 12"),
        (CLIPTextConfig, {"num_attention_heads": 0}, "not a multiple"),
        (CLIPTextConfig, {"max_position_embeddings": 0}, "must be positive"),
        (T5Config, {"d_kv": 0}, "must be positive"),
        (T5Config, {"relative_attention_num_buckets": 30}, "expected a multiple of 4"),
        (T5Config, {"relative_attention_max_distance": 8}, "32 buckets up to distance 8"),
    ],
)
def test_sizes_that_contradict_each_other_are_refused(
    kind: type[NetworkConfig], values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        kind(**values)
    assert str(caught.value).startswith(f"{kind.component}: ")
    assert isinstance(caught.value, FluxError) and isinstance(caught.value, ValueError)
    with pytest.raises(ConfigError, match=message):
        kind.from_dict(values)


@pytest.mark.parametrize("config", FULL_SIZE, ids=lambda config: f"{config.component}")
def test_a_config_is_a_value(config: NetworkConfig) -> None:
    assert hash(dataclasses.replace(config)) == hash(config)
    assert dataclasses.replace(config) == config
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.component_size = 1  # type: ignore[attr-defined]
