//! Names of the published towers' tensors.

/// Names of a layer's tensors, those of projections and norms without `.weight` and `.bias`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerNames {
    /// The norm before attention.
    pub attention_norm: &'static str,
    /// Queries, keys and values: one tensor, or one each.
    pub qkv: &'static [&'static str],
    /// Norms of queries and keys, where there are any.
    pub qk_norm: [&'static str; 2],
    /// Behind the attention.
    pub out: &'static str,
    /// The norm before the feedforward.
    pub mlp_norm: &'static str,
    /// The feedforward's input; gate and input, if it is gated.
    pub up: &'static [&'static str],
    /// Its output.
    pub down: &'static str,
    /// Scales of the attention's branch and of the feedforward's, where there are any.
    pub scales: [&'static str; 2],
}

/// Names of a tower's tensors. Those that a tower does not have are not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VitNames {
    /// The class token.
    pub class: &'static str,
    /// The projection of patches, without `.weight` and `.bias`.
    pub patch: &'static str,
    /// The table of positions.
    pub positions: &'static str,
    /// The norm before the layers.
    pub pre_norm: &'static str,
    /// The prefix of the layers, before their number.
    pub layers: &'static str,
    /// A layer's.
    pub layer: LayerNames,
    /// The norm behind the layers.
    pub post_norm: &'static str,
}

impl LayerNames {
    /// Those of Llama 3.2 Vision's tower.
    pub const MLLAMA: Self = Self {
        attention_norm: "input_layernorm",
        qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
        qk_norm: ["", ""],
        out: "self_attn.o_proj",
        mlp_norm: "post_attention_layernorm",
        up: &["mlp.fc1"],
        down: "mlp.fc2",
        scales: ["gate_attn", "gate_ffn"],
    };

    /// Those of Qwen2-VL's tower.
    pub const QWEN2: Self = Self {
        attention_norm: "norm1",
        qkv: &["attn.qkv"],
        qk_norm: ["", ""],
        out: "attn.proj",
        mlp_norm: "norm2",
        up: &["mlp.fc1"],
        down: "mlp.fc2",
        scales: ["", ""],
    };

    /// Those of Qwen2.5-VL's.
    pub const QWEN2_5: Self = Self { up: &["mlp.gate_proj", "mlp.up_proj"], down: "mlp.down_proj", ..Self::QWEN2 };
}

impl VitNames {
    /// CLIP's, SigLIP's and Idefics3's.
    pub const CLIP: Self = Self {
        class: "embeddings.class_embedding",
        patch: "embeddings.patch_embedding",
        positions: "embeddings.position_embedding.weight",
        // Published so.
        pre_norm: "pre_layrnorm",
        layers: "encoder.layers",
        layer: LayerNames {
            attention_norm: "layer_norm1",
            qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
            qk_norm: ["", ""],
            out: "self_attn.out_proj",
            mlp_norm: "layer_norm2",
            up: &["mlp.fc1"],
            down: "mlp.fc2",
            scales: ["", ""],
        },
        post_norm: "post_layernorm",
    };

    /// InternViT's.
    pub const INTERN: Self = Self {
        class: "embeddings.cls_token",
        patch: "embeddings.patch_embeddings.projection",
        positions: "embeddings.position_embeddings",
        pre_norm: "",
        layers: "encoder.layer",
        layer: LayerNames {
            attention_norm: "layernorm_before",
            qkv: &["attention.q_proj", "attention.k_proj", "attention.v_proj"],
            qk_norm: ["attention.q_norm", "attention.k_norm"],
            out: "attention.projection_layer",
            mlp_norm: "layernorm_after",
            up: &["mlp.fc1"],
            down: "mlp.fc2",
            scales: ["lambda_1", "lambda_2"],
        },
        post_norm: "layernorm",
    };

    /// Pixtral's.
    pub const PIXTRAL: Self = Self {
        class: "",
        patch: "patch_conv",
        positions: "",
        pre_norm: "ln_pre",
        layers: "transformer.layers",
        layer: LayerNames {
            attention_norm: "attention_norm",
            qkv: &["attention.q_proj", "attention.k_proj", "attention.v_proj"],
            qk_norm: ["", ""],
            out: "attention.o_proj",
            mlp_norm: "ffn_norm",
            up: &["feed_forward.gate_proj", "feed_forward.up_proj"],
            down: "feed_forward.down_proj",
            scales: ["", ""],
        },
        post_norm: "",
    };
}
