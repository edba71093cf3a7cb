"""How every setting of a model's folder is treated: plain data, and a check that refuses settings that would be lost.

A setting is honoured (vectors depend on it, and autoprune follows it), carried (it is passed on to every artifact and
export), idle (it changes no vector: training, generation, bookkeeping), or refused except for values that change
nothing. A setting in none of these groups is unknown, and is reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autoprune.errors import AutopruneError

HONOURED, CARRIED, IDLE = "honoured", "carried", "idle"


@dataclass(frozen=True)
class Only:
    """Refused, except for these values.

    Attributes:
        values: values at which the setting changes nothing, or is followed.
        otherwise: why other values are refused, or the way out.
        holding: a list that contains this is allowed as well; None: only lists among the values are.
        keys: an object with only these keys is allowed as well, whatever their values.
    """

    values: tuple[Any, ...]
    otherwise: str = "that is not known here"
    holding: str | None = None
    keys: tuple[str, ...] = ()

    def allows(self, value: Any) -> bool:
        """Whether nothing is lost with this value."""
        if value in self.values:
            return True
        if isinstance(value, list):
            return self.holding is not None and self.holding in value
        return bool(self.keys) and isinstance(value, Mapping) and all(key in self.keys for key in value)


Fate = str | Only

NO_CODE = Only(
    (None, {}), "it would run code that comes with the model, which is never done; give a model that needs none"
)


def _each(fate: Fate, names: str) -> dict[str, Fate]:
    return dict.fromkeys(names.split(), fate)


CONFIG: dict[str, Fate] = {
    **_each(HONOURED, "model_type vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size"),
    **_each(HONOURED, "hidden_act max_position_embeddings type_vocab_size layer_norm_eps pad_token_id embedding_size"),
    **_each(HONOURED, "dim n_layers n_heads hidden_dim activation"),  # DistilBERT's names
    **_each(HONOURED, "relative_attention_num_buckets num_hidden_groups norm_eps norm_bias attention_bias mlp_bias"),
    **_each(HONOURED, "hidden_activation layer_types rope_parameters local_attention head_dim num_key_value_heads"),
    **_each(HONOURED, "global_attn_every_n_layers global_rope_theta local_rope_theta"),
    "inner_group_num": Only((None, 1), "save it with one layer for each group"),
    "position_embedding_type": Only((None, "absolute"), "only absolute positions are known"),
    "is_decoder": Only((None, False), "a decoder is no encoder"),
    "add_cross_attention": Only((None, False), "a decoder is no encoder"),
    "is_causal": Only((None, False), "a decoder is no encoder"),
    "is_encoder_decoder": Only((None, False), "an encoder alone is known"),
    "auto_map": NO_CODE,
    "custom_pipelines": NO_CODE,
    "quantization_config": Only(
        (None,), "its weights are codes of another library; give the model in float32, float16 or bfloat16"
    ),
    "compression_config": Only((None,), "its weights are compressed; give the model in float32, float16 or bfloat16"),
    "pruned_heads": Only((None, {}), "save the model again with whole layers"),
    "rope_scaling": Only((None,)),
    # How it is trained.
    **_each(IDLE, "hidden_dropout_prob attention_probs_dropout_prob dropout attention_dropout initializer_range"),
    **_each(IDLE, "classifier_dropout qa_dropout seq_classif_dropout summary_last_dropout gradient_checkpointing"),
    **_each(IDLE, "layerdrop embedding_dropout sinusoidal_pos_embds chunk_size_feed_forward use_bfloat16 torchscript"),
    **_each(IDLE, "torch_dtype dtype use_cache output_past initializer_factor initializer_cutoff_factor"),
    **_each(IDLE, "classifier_dropout_prob gap_size num_memory_blocks net_structure_type mlp_dropout"),
    **_each(IDLE, "deterministic_flash_attn reference_compile repad_logits_with_grad"),
    # What stands on the layers for other tasks, and the pooler.
    **_each(IDLE, "architectures id2label label2id num_labels problem_type finetuning_task task_specific_params"),
    **_each(IDLE, "summary_type summary_use_proj summary_activation summary_first_dropout tie_word_embeddings"),
    **_each(IDLE, "decoder_bias classifier_pooling classifier_bias classifier_activation sparse_prediction"),
    **_each(IDLE, "sbert_ce_default_activation_function"),
    **_each(IDLE, "sparse_pred_ignore_index down_scale_factor"),
    **_each(IDLE, "tie_weights_ tie_encoder_decoder cross_attention_hidden_size directionality pooler_fc_size"),
    **_each(IDLE, "pooler_num_attention_heads pooler_num_fc_layers pooler_size_per_head pooler_type emb_pooler"),
    **_each(IDLE, "output_attentions output_hidden_states return_dict matryoshka_dimensions sentence_transformers"),
    # How text is generated.
    **_each(IDLE, "bos_token_id eos_token_id sep_token_id cls_token_id mask_token_id decoder_start_token_id"),
    **_each(IDLE, "max_length min_length do_sample early_stopping num_beams num_beam_groups diversity_penalty"),
    **_each(IDLE, "temperature top_k top_p typical_p repetition_penalty length_penalty no_repeat_ngram_size"),
    **_each(IDLE, "encoder_no_repeat_ngram_size bad_words_ids num_return_sequences output_scores"),
    **_each(IDLE, "return_dict_in_generate forced_bos_token_id forced_eos_token_id remove_invalid_values"),
    **_each(IDLE, "exponential_decay_length_penalty suppress_tokens begin_suppress_tokens prefix tokenizer_class"),
    # Where it comes from.
    **_each(IDLE, "_name_or_path name_or_path transformers_version tf_legacy_loss _attn_implementation_autoset"),
    **_each(IDLE, "_attn_implementation attn_implementation _commit_hash unsloth_version transformers.js_config"),
}

MPNET_CONFIG: dict[str, Fate] = {
    **CONFIG,
    "relative_attention_num_buckets": Only((None, 32), "an MPNet tells 32 distances apart, whatever is set"),
}
T5_CONFIG: dict[str, Fate] = {
    **CONFIG,
    **_each(HONOURED, "d_model d_kv d_ff num_layers num_heads relative_attention_max_distance layer_norm_epsilon"),
    **_each(HONOURED, "feed_forward_proj"),
    # What goes with its decoder, and what follows from other settings.
    **_each(IDLE, "is_encoder_decoder num_decoder_layers dense_act_fn is_gated_act scale_decoder_outputs n_positions"),
    **_each(IDLE, "dropout_rate"),
}
DECODER_CONFIG: dict[str, Fate] = {
    **CONFIG,
    **_each(HONOURED, "rms_norm_eps is_causal sliding_window use_sliding_window max_window_layers rope_theta"),
    **_each(HONOURED, "query_pre_attn_scalar use_bidirectional_attention rope_local_base_freq sliding_window_pattern"),
    **_each(HONOURED, "_sliding_window_pattern"),
    "attn_logit_softcapping": Only((None,)),
    **_each(IDLE, "final_logit_softcapping cache_implementation"),
}

TOKENIZER_CONFIG: dict[str, Fate] = {
    **_each(HONOURED, "tokenizer_class do_lower_case strip_accents tokenize_chinese_chars model_max_length"),
    **_each(HONOURED, "truncation_side unk_token sep_token pad_token cls_token mask_token bos_token eos_token"),
    **_each(HONOURED, "added_tokens_decoder additional_special_tokens extra_special_tokens add_prefix_space"),
    **_each(HONOURED, "trim_offsets add_bos_token add_eos_token sp_model_kwargs legacy wordpieces_prefix unk_id"),
    **_each(HONOURED, "keep_accents remove_space model_specific_special_tokens lowercase"),
    "padding_side": HONOURED,
    "auto_map": NO_CODE,
    "model_input_names": Only(
        (None,), "without attention_mask among them padding would count as text; add it", holding="attention_mask"
    ),
    "split_special_tokens": Only((None, False), "special tokens in a text are read as such here"),
    # What a call can be told, and sentence-transformers tells.
    **_each(IDLE, "max_length stride truncation truncation_strategy padding pad_to_multiple_of pad_token_type_id"),
    **_each(IDLE, "pad_id return_token_type_ids use_fast from_slow backend is_local verbose errors"),
    **_each(IDLE, "do_basic_tokenize never_split basic_tokenizer full_tokenizer_file do_sample add_special_tokens"),
    **_each(IDLE, "clean_up_tokenization_spaces chat_template max_len processor_class token_type_ids_pattern"),
    **_each(IDLE, "name_or_path special_tokens_map_file tokenizer_file vocab_file merges_file local_files_only"),
    **_each(IDLE, "transformers_version trust_remote_code _commit_hash"),
}

TOKENIZER: dict[str, Fate] = {
    **_each(HONOURED, "truncation padding added_tokens normalizer pre_tokenizer post_processor model"),
    **_each(IDLE, "version decoder"),
}

LOADING = (
    *("add_pooling_layer", "attn_implementation", "cache_dir", "device_map", "dtype", "local_files_only"),
    *("low_cpu_mem_usage", "token", "torch_dtype", "trust_remote_code", "use_safetensors"),
)
"""What `from_pretrained` can be told of how a model is loaded and computed."""

READING: dict[str, Fate] = {
    **_each(HONOURED, "max_seq_length do_lower_case"),
    "transformer_task": Only((None, "feature-extraction"), "only feature-extraction is known"),
    "module_output_name": Only((None, "token_embeddings"), "only token_embeddings is known"),
    "modality_config": Only(
        (
            None,
            {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        ),
        "only texts by the last hidden state are known",
    ),
    "query_length": Only((None,), "queries and documents are cut at the same length here; set max_seq_length"),
    "document_length": Only((None,), "queries and documents are cut at the same length here; set max_seq_length"),
    "query_expansion": Only((None,)),
    "processing_kwargs": Only((None, {})),
    **dict.fromkeys(("config_args", "config_kwargs"), Only((None, {}), "write it into config.json")),
    **dict.fromkeys(("tokenizer_args", "processor_kwargs"), Only((None, {}), "write it into tokenizer_config.json")),
    **dict.fromkeys(
        ("model_args", "model_kwargs"),
        Only(
            (None, {}),
            f"of its keys {', '.join(LOADING)} are known to change nothing; write others into config.json where it has "
            "them",
            keys=LOADING,
        ),
    ),
    "unpad_inputs": IDLE,  # how it is computed
    "tokenizer_name_or_path": Only((None, ""), "put the tokenizer into the model's folder"),
}

READING_PAIRS: dict[str, Fate] = {
    **READING,
    "transformer_task": Only((None, "sequence-classification"), "only sequence-classification gives scores"),
    "module_output_name": Only((None, "scores"), "only scores are known"),
    "modality_config": Only(
        (None, {"text": {"method": "forward", "method_output_name": "logits"}}), "only texts by their logits are known"
    ),
}

DECLARED: dict[str, Fate] = {
    "prompts": CARRIED,
    "default_prompt_name": CARRIED,
    "similarity_fn_name": CARRIED,
    "truncate_dim": HONOURED,
    "model_type": Only(
        (None, "SentenceTransformer"),
        "only SentenceTransformer is known here; a CrossEncoder is searched with task=reranker",
    ),
    "__version__": IDLE,
}

DECLARED_PAIRS: dict[str, Fate] = {
    "activation_fn": HONOURED,
    "prompts": Only((None, {}), "nothing is put before pairs here; put it into the queries"),
    "default_prompt_name": Only((None,), "nothing is put before pairs here"),
    "model_type": Only((None, "CrossEncoder"), "only CrossEncoder is known"),
    **_each(IDLE, "__version__ keep_in_fp32_modules"),
}

MODULE: dict[str, Fate] = {**_each(HONOURED, "type path"), **_each(IDLE, "idx name"), "kwargs": Only((None, []))}

POOLING: dict[str, Fate] = {
    **_each(HONOURED, "pooling_mode pooling_mode_cls_token pooling_mode_max_tokens pooling_mode_mean_tokens"),
    **_each(HONOURED, "pooling_mode_mean_sqrt_len_tokens pooling_mode_weightedmean_tokens pooling_mode_lasttoken"),
    "include_prompt": HONOURED,
    **_each(IDLE, "word_embedding_dimension embedding_dimension"),  # the weights say it
}

SENTENCE = Only((None, "sentence_embedding"), "only sentence_embedding is known")

DENSE: dict[str, Fate] = {
    **_each(HONOURED, "in_features out_features bias activation_function"),
    "use_residual": Only((None, False)),
    **dict.fromkeys(("module_input_name", "module_output_name"), SENTENCE),
}

NORMALIZE: dict[str, Fate] = dict.fromkeys(("module_input_name", "module_output_name"), SENTENCE)

SPECIAL_TOKENS: dict[str, Fate] = {
    **_each(HONOURED, "unk_token sep_token pad_token cls_token mask_token bos_token eos_token"),
    **_each(HONOURED, "additional_special_tokens extra_special_tokens"),
}

FILES: dict[str, dict[str, Fate]] = {
    "config.json": CONFIG,
    "config.json of MPNet": MPNET_CONFIG,
    "config.json of T5": T5_CONFIG,
    "config.json of decoders": DECODER_CONFIG,
    "tokenizer_config.json": TOKENIZER_CONFIG,
    "tokenizer.json": TOKENIZER,
    "special_tokens_map.json": SPECIAL_TOKENS,
    "sentence_bert_config.json": READING,
    "config_sentence_transformers.json": DECLARED,
    "sentence_bert_config.json of cross-encoders": READING_PAIRS,
    "config_sentence_transformers.json of cross-encoders": DECLARED_PAIRS,
    "modules.json": MODULE,
    "Pooling": POOLING,
    "Dense": DENSE,
    "Normalize": NORMALIZE,
}
"""What becomes of the settings of each file; of the files of modules by the module's kind.

`added_tokens.json` and files of vocabularies hold pieces and no settings; all of them are followed. What other files
hold (`generation_config.json`, `README.md`, weights of other libraries) is not read.
"""


def check_settings(kind: str, content: Mapping[str, Any], *, file: str, where: str) -> list[str]:
    """Refuses values that would be lost, and returns notes on unknown settings.

    Args:
        kind: one of `FILES`.
        content: content of the file.
        file: its name, for people.
        where: the model, for errors.

    Raises:
        AutopruneError: a value would be lost; the error gives the setting, its value and the way out.
    """
    unknown = []
    for name, value in content.items():
        fate = FILES[kind].get(name)
        if fate is None:
            unknown.append(name)
        elif isinstance(fate, Only) and not fate.allows(value):
            shown = repr(value) if len(repr(value)) <= 80 else repr(value)[:77] + "..."
            raise AutopruneError(f"task.model: {where}: {file} sets {name} to {shown}; {fate.otherwise}.")
    if not unknown:
        return []
    return [f"{file} sets {', '.join(sorted(unknown))}, of which nothing is known here: without effect"]
