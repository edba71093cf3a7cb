"""Settings as published encoders come with them, file by file (of 2019 to 2025, without weights and vocabularies)."""

from __future__ import annotations

from typing import Any

BERT: dict[str, Any] = {
    "attention_probs_dropout_prob": 0.1,
    "classifier_dropout": None,
    "gradient_checkpointing": False,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "model_type": "bert",
    "pad_token_id": 0,
    "position_embedding_type": "absolute",
    "transformers_version": "4.8.2",
    "type_vocab_size": 2,
    "use_cache": True,
    "vocab_size": 30522,
    "architectures": ["BertModel"],
    "_name_or_path": "nreimers/MiniLM-L6-H384-uncased",
}
XLMR = {**BERT, "model_type": "xlm-roberta", "layer_norm_eps": 1e-05, "pad_token_id": 1, "type_vocab_size": 1}
XLMR |= {
    "max_position_embeddings": 514,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "output_past": True,
    "torch_dtype": "float32",
}
DISTILBERT: dict[str, Any] = {
    "_name_or_path": "old_models/distiluse-base-multilingual-cased-v2/0_Transformer",
    "activation": "gelu",
    "architectures": ["DistilBertModel"],
    "attention_dropout": 0.1,
    "dim": 768,
    "dropout": 0.1,
    "hidden_dim": 3072,
    "initializer_range": 0.02,
    "max_position_embeddings": 512,
    "model_type": "distilbert",
    "n_heads": 12,
    "n_layers": 6,
    "output_hidden_states": True,
    "output_past": True,
    "pad_token_id": 0,
    "qa_dropout": 0.1,
    "seq_classif_dropout": 0.2,
    "sinusoidal_pos_embds": False,
    "tie_weights_": True,
    "transformers_version": "4.6.1",
    "vocab_size": 119547,
}
SPECIAL = {f"{role}_token": f"[{role.upper()}]" for role in ("unk", "sep", "pad", "cls", "mask")}
BERT_TOKENIZER: dict[str, Any] = {
    **SPECIAL,
    "do_lower_case": True,
    "tokenize_chinese_chars": True,
    "strip_accents": None,
    "name_or_path": "nreimers/MiniLM-L6-H384-uncased",
    "do_basic_tokenize": True,
    "never_split": None,
    "special_tokens_map_file": "/root/.cache/huggingface/transformers/special_tokens_map.json",
    "tokenizer_class": "BertTokenizer",
    "model_max_length": 512,
}
SAVED_AGAIN: dict[str, Any] = {
    **BERT_TOKENIZER,
    "added_tokens_decoder": {"0": {"content": "[PAD]", "lstrip": False, "special": True}},
    "clean_up_tokenization_spaces": True,
    "extra_special_tokens": {},
    "max_length": 128,
    "pad_to_multiple_of": None,
    "pad_token_type_id": 0,
    "padding_side": "right",
    "stride": 0,
    "truncation_side": "right",
    "truncation_strategy": "longest_first",
}
XLMR_TOKENIZER = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "sep_token": "</s>",
    "cls_token": "<s>",
    "unk_token": "<unk>",
}
XLMR_TOKENIZER |= {"pad_token": "<pad>", "mask_token": {"content": "<mask>", "lstrip": True}, "sp_model_kwargs": {}}
XLMR_TOKENIZER |= {"model_max_length": 512, "tokenizer_class": "XLMRobertaTokenizer", "tokenizer_file": None}
READING = {"max_seq_length": 256, "do_lower_case": False}
OLD = {"__version__": {"sentence_transformers": "2.0.0", "transformers": "4.6.1", "pytorch": "1.8.1"}}
MODES = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")


def pooling(mode: str, width: int, **more: Any) -> dict[str, Any]:
    return {"word_embedding_dimension": width, **{f"pooling_mode_{one}": one == mode for one in MODES}, **more}


MEAN, CLS = pooling("mean_tokens", 384), pooling("cls_token", 384)
LATER = {"pooling_mode_weightedmean_tokens": False, "pooling_mode_lasttoken": False, "include_prompt": True}
TANH = "torch.nn.modules.activation.Tanh"

PUBLISHED: dict[str, dict[str, dict[str, Any]]] = {
    "sentence-transformers/all-MiniLM-L6-v2": {
        "config.json": {**BERT, "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12},
        "tokenizer_config.json": BERT_TOKENIZER,
        "sentence_bert_config.json": READING,
        "config_sentence_transformers.json": OLD,
        "1_Pooling/config.json": MEAN,
        "modules.json": {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    },
    "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2": {
        "config.json": {**BERT, "intermediate_size": 1536, "vocab_size": 250037},
        "tokenizer_config.json": {
            **XLMR_TOKENIZER,
            "do_lower_case": True,
            "tokenizer_class": "PreTrainedTokenizerFast",
        },
        "sentence_bert_config.json": {"max_seq_length": 128, "do_lower_case": False},
        "1_Pooling/config.json": MEAN,
    },
    "intfloat/e5-small-v2": {
        "config.json": {**BERT, "torch_dtype": "float32", "tokenizer_class": "BertTokenizer"},
        "tokenizer_config.json": BERT_TOKENIZER,
        "sentence_bert_config.json": {"max_seq_length": 512, "do_lower_case": False},
        "1_Pooling/config.json": MEAN,
    },
    "intfloat/multilingual-e5-small": {
        "config.json": {**BERT, "tokenizer_class": "XLMRobertaTokenizer", "vocab_size": 250037},
        "tokenizer_config.json": XLMR_TOKENIZER,
        "sentence_bert_config.json": {"max_seq_length": 512, "do_lower_case": False},
        "1_Pooling/config.json": MEAN,
    },
    "intfloat/multilingual-e5-base": {"config.json": XLMR, "tokenizer_config.json": XLMR_TOKENIZER},
    "BAAI/bge-small-en-v1.5": {
        "config.json": {**BERT, "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}, "torch_dtype": "float32"},
        "tokenizer_config.json": SAVED_AGAIN,
        "sentence_bert_config.json": {"max_seq_length": 512, "do_lower_case": True},
        "config_sentence_transformers.json": OLD,
        "1_Pooling/config.json": CLS,
    },
    "BAAI/bge-m3": {"config.json": XLMR, "tokenizer_config.json": XLMR_TOKENIZER, "1_Pooling/config.json": CLS},
    "thenlper/gte-small": {
        "config.json": {**BERT, "torch_dtype": "float16"},
        "tokenizer_config.json": SAVED_AGAIN,
        "1_Pooling/config.json": MEAN,
    },
    "Snowflake/snowflake-arctic-embed-s": {
        "config.json": {**BERT, "torch_dtype": "float32"},
        "tokenizer_config.json": {**SAVED_AGAIN, "additional_special_tokens": []},
        "config_sentence_transformers.json": {
            **OLD,
            "prompts": {"query": "Represent this sentence for searching relevant passages: "},
            "default_prompt_name": None,
        },
        "1_Pooling/config.json": pooling("cls_token", 384, **LATER),
    },
    "mixedbread-ai/mxbai-embed-large-v1": {
        "config.json": {**BERT, "use_cache": False, "torch_dtype": "float16"},
        "tokenizer_config.json": SAVED_AGAIN,
        "config_sentence_transformers.json": {
            **OLD,
            "prompts": {"query": "Represent this sentence for searching relevant passages: ", "passage": ""},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
        "1_Pooling/config.json": pooling("cls_token", 1024, **LATER),
    },
    "dangvantuan/sentence-camembert-base": {
        "config.json": {**XLMR, "model_type": "camembert", "vocab_size": 32005},
        "tokenizer_config.json": {**XLMR_TOKENIZER, "additional_special_tokens": ["<s>NOTUSED", "</s>NOTUSED"]},
        "1_Pooling/config.json": MEAN,
    },
    "sentence-transformers/all-distilroberta-v1": {
        "config.json": {**XLMR, "model_type": "roberta", "vocab_size": 50265},
        "tokenizer_config.json": {
            **XLMR_TOKENIZER,
            "add_prefix_space": False,
            "trim_offsets": True,
            "errors": "replace",
        },
        "1_Pooling/config.json": MEAN,
    },
    "sentence-transformers/distiluse-base-multilingual-cased-v2": {
        "config.json": DISTILBERT,
        "tokenizer_config.json": {**BERT_TOKENIZER, "do_lower_case": False, "full_tokenizer_file": None},
        "1_Pooling/config.json": MEAN,
        "2_Dense/config.json": {"in_features": 768, "out_features": 512, "bias": True, "activation_function": TANH},
    },
    "sentence-transformers/LaBSE": {
        "config.json": {
            **BERT,
            "directionality": "bidi",
            "pooler_fc_size": 768,
            "pooler_num_attention_heads": 12,
            "pooler_num_fc_layers": 3,
            "pooler_size_per_head": 128,
            "pooler_type": "first_token_transform",
        },
        "1_Pooling/config.json": pooling("cls_token", 768),
        "2_Dense/config.json": {"in_features": 768, "out_features": 768, "bias": True, "activation_function": TANH},
    },
    "google/electra-small-discriminator": {
        "config.json": {
            **BERT,
            "model_type": "electra",
            "architectures": ["ElectraForPreTraining"],
            "embedding_size": 128,
            "hidden_size": 256,
            "summary_activation": "gelu",
            "summary_last_dropout": 0.1,
            "summary_type": "first",
            "summary_use_proj": True,
        },
        "tokenizer_config.json": {"do_lower_case": True, "model_max_length": 512},
    },
    "saved by sentence-transformers 6": {
        "sentence_bert_config.json": {
            "transformer_task": "feature-extraction",
            "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
            "module_output_name": "token_embeddings",
        },
        "config_sentence_transformers.json": {
            "__version__": {"sentence_transformers": "6.2.0"},
            "model_type": "SentenceTransformer",
            "prompts": {"query": "", "document": ""},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
        "1_Pooling/config.json": {"embedding_dimension": 384, "pooling_mode": "mean", "include_prompt": True},
        "2_Normalize/config.json": {
            "module_input_name": "sentence_embedding",
            "module_output_name": "sentence_embedding",
        },
    },
    "jinaai/jina-embeddings-v2-small-en": {
        "config.json": {
            **BERT,
            "position_embedding_type": "alibi",
            "auto_map": {"AutoModel": "jinaai/jina-bert-implementation--modeling_bert.JinaBertModel"},
        },
    },
    "sentence-transformers/all-mpnet-base-v2": {
        "config.json of MPNet": {
            **{name: value for name, value in BERT.items() if name not in ("position_embedding_type", "use_cache")},
            **{"model_type": "mpnet", "architectures": ["MPNetForMaskedLM"], "relative_attention_num_buckets": 32},
            **{"layer_norm_eps": 1e-05, "max_position_embeddings": 514, "pad_token_id": 1, "vocab_size": 30527},
        },
        "tokenizer_config.json": {**XLMR_TOKENIZER, "do_lower_case": True, "tokenizer_class": "MPNetTokenizer"},
        "sentence_bert_config.json": {"max_seq_length": 384, "do_lower_case": False},
        "1_Pooling/config.json": pooling("mean_tokens", 768),
    },
    "sentence-transformers/paraphrase-albert-small-v2": {
        "config.json": {
            **{name: value for name, value in BERT.items() if name != "use_cache"},
            **{"model_type": "albert", "classifier_dropout_prob": 0.1, "down_scale_factor": 1, "embedding_size": 128},
            **{"gap_size": 0, "inner_group_num": 1, "net_structure_type": 0, "num_hidden_groups": 1},
            **{"num_memory_blocks": 0, "bos_token_id": 2, "eos_token_id": 3, "hidden_act": "gelu_new"},
        },
        "sentence_bert_config.json": {"max_seq_length": 100, "do_lower_case": False},
        "1_Pooling/config.json": pooling("mean_tokens", 768),
    },
    "sentence-transformers/sentence-t5-base": {
        "config.json of T5": {
            **{"architectures": ["T5EncoderModel"], "d_ff": 3072, "d_kv": 64, "d_model": 768, "dropout_rate": 0.1},
            **{"decoder_start_token_id": 0, "eos_token_id": 1, "feed_forward_proj": "relu", "initializer_factor": 1.0},
            **{"is_encoder_decoder": True, "layer_norm_epsilon": 1e-06, "model_type": "t5", "n_positions": 512},
            **{"num_decoder_layers": 12, "num_heads": 12, "num_layers": 12, "output_past": True, "pad_token_id": 0},
            **{"relative_attention_num_buckets": 32, "torch_dtype": "float16", "vocab_size": 32128},
            **{"task_specific_params": {"summarization": {"early_stopping": True}}, "use_cache": True},
        },
        "1_Pooling/config.json": pooling("mean_tokens", 768),
        "2_Dense/config.json": {
            **{"in_features": 768, "out_features": 768, "bias": False},
            "activation_function": "torch.nn.modules.linear.Identity",
        },
    },
    "Alibaba-NLP/gte-modernbert-base": {
        "config.json": {
            **{"architectures": ["ModernBertModel"], "attention_bias": False, "attention_dropout": 0.0},
            **{"bos_token_id": 50281, "classifier_activation": "gelu", "classifier_bias": False, "cls_token_id": 50281},
            **{"classifier_dropout": 0.0, "classifier_pooling": "mean", "decoder_bias": True, "hidden_size": 768},
            **{"deterministic_flash_attn": False, "embedding_dropout": 0.0, "eos_token_id": 50282, "mlp_bias": False},
            **{"global_attn_every_n_layers": 3, "global_rope_theta": 160000.0, "hidden_activation": "gelu"},
            **{"gradient_checkpointing": False, "initializer_cutoff_factor": 2.0, "initializer_range": 0.02},
            **{"intermediate_size": 1152, "layer_norm_eps": 1e-05, "local_attention": 128, "local_rope_theta": 10000.0},
            **{"max_position_embeddings": 8192, "mlp_dropout": 0.0, "model_type": "modernbert", "norm_bias": False},
            **{"norm_eps": 1e-05, "num_attention_heads": 12, "num_hidden_layers": 22, "pad_token_id": 50283},
            **{"position_embedding_type": "absolute", "reference_compile": True, "repad_logits_with_grad": False},
            **{"sep_token_id": 50282, "sparse_pred_ignore_index": -100, "sparse_prediction": False},
        },
        "1_Pooling/config.json": pooling("cls_token", 768, **LATER),
    },
    "Qwen/Qwen3-Embedding-0.6B": {
        "config.json of decoders": {
            **{"architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0},
            **{"bos_token_id": 151643, "eos_token_id": 151643, "head_dim": 128, "hidden_act": "silu"},
            **{"hidden_size": 1024, "initializer_range": 0.02, "intermediate_size": 3072, "max_window_layers": 28},
            **{"max_position_embeddings": 32768, "model_type": "qwen3", "num_attention_heads": 16},
            **{"num_hidden_layers": 28, "num_key_value_heads": 8, "rms_norm_eps": 1e-06, "rope_scaling": None},
            **{"rope_theta": 1000000, "sliding_window": None, "tie_word_embeddings": True, "use_cache": True},
            **{"torch_dtype": "bfloat16", "use_sliding_window": False, "vocab_size": 151669},
        },
        "tokenizer_config.json": {
            **{"add_bos_token": False, "add_prefix_space": False, "bos_token": None, "eos_token": "<|im_end|>"},
            **{"clean_up_tokenization_spaces": False, "errors": "replace", "model_max_length": 131072},
            **{"pad_token": "<|endoftext|>", "split_special_tokens": False, "tokenizer_class": "Qwen2Tokenizer"},
            **{"chat_template": "{{ messages }}", "extra_special_tokens": {}, "unk_token": None},
        },
        "config_sentence_transformers.json": {
            "prompts": {"query": "Instruct: Given a web search query\nQuery:", "document": ""},
            **{"default_prompt_name": None, "similarity_fn_name": "cosine"},
        },
        "1_Pooling/config.json": {
            **pooling("none", 1024),
            **{"pooling_mode_weightedmean_tokens": False, "pooling_mode_lasttoken": True, "include_prompt": True},
        },
    },
    "google/embeddinggemma-300m": {
        "config.json of decoders": {
            **{"_sliding_window_pattern": 6, "architectures": ["Gemma3TextModel"], "attention_bias": False},
            **{"attention_dropout": 0.0, "attn_logit_softcapping": None, "bos_token_id": 2, "dtype": "float32"},
            **{"eos_token_id": 1, "final_logit_softcapping": None, "head_dim": 256, "hidden_size": 768},
            **{"hidden_activation": "gelu_pytorch_tanh", "initializer_range": 0.02, "intermediate_size": 1152},
            **{"layer_types": ["sliding_attention", "full_attention"], "max_position_embeddings": 2048},
            **{"model_type": "gemma3_text", "num_attention_heads": 3, "num_hidden_layers": 24, "pad_token_id": 0},
            **{"num_key_value_heads": 1, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-06, "use_cache": True},
            **{"rope_local_base_freq": 10000.0, "rope_scaling": None, "rope_theta": 1000000.0, "sliding_window": 512},
            **{"use_bidirectional_attention": True, "vocab_size": 262144},
        },
        "2_Dense/config.json": {
            **{"in_features": 768, "out_features": 3072, "bias": False},
            "activation_function": "torch.nn.modules.linear.Identity",
        },
    },
    "unsloth/bge-small-en-v1.5-bnb-4bit": {
        "config.json": {**BERT, "quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
    },
}

REFUSED = {
    "jinaai/jina-embeddings-v2-small-en": ("config.json", "only absolute positions|would run code"),
    "unsloth/bge-small-en-v1.5-bnb-4bit": ("config.json", "codes of another library"),
}
"""Those of which a setting would be lost: in which file, and what is said."""
