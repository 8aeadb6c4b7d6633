"""Makes the fixtures of options that no published checkpoint's fixture has: small checkpoints with random weights in a
published format, and what the reference implementation (transformers 4.57.1, eager attention, float32) makes of them.

    python make.py [NAME ...]

Tokenizers, preprocessors and pictures are those of the other fixtures of this folder. The layout is theirs, but that
weights are stored in bf16, which they are rounded to before anything is computed. Needs transformers==4.57.1, torch,
pillow, safetensors.
"""

import json
import pathlib
import shutil
import sys

import numpy
import safetensors.numpy
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

import sketch

HERE = pathlib.Path(__file__).parent
WEIGHTS = "model.safetensors"
NEW_TOKENS = 10


def merged(base, edits):
    """`base` with `edits`, object by object; None takes a key away."""
    if not isinstance(base, dict) or not isinstance(edits, dict):
        return edits
    merged_ = {key: value for key, value in base.items() if edits.get(key, 0) is not None}
    return merged_ | {key: merged(base.get(key), value) for key, value in edits.items() if value is not None}


def randomise(model, seed, gains):
    """Weights that all take part: matrices keep the size of what they multiply, norms and biases stray from one and
    zero. `gains` multiply those whose name contains a key."""
    numbers = numpy.random.RandomState(seed)
    plus_one = model.config.get_text_config().model_type.startswith("gemma")
    for name, tensor in sorted(model.named_parameters()):
        draw = torch.from_numpy(numbers.standard_normal(tuple(tensor.shape)).astype(numpy.float32))
        gain = next((gain for key, gain in gains.items() if key in name), 1.0)
        embeds = "embed" in name and "patch_embed" not in name
        if embeds:
            draw *= gain * (0.25 if plus_one else 1.0)
        elif tensor.ndim > 1:
            draw *= gain * 1.3 / (tensor[0].numel() ** 0.5)
        elif name.endswith("bias") or "class_token" in name or "gate" in name:
            draw *= 0.4 * gain
        else:
            zero = plus_one and ("language_model" in name)
            draw = draw * 0.2 * gain + (0.0 if zero else 1.0)
        with torch.no_grad():
            tensor.copy_(draw.to(torch.bfloat16).to(torch.float32))


class Kept:
    """What modules put out, the first time they run."""

    def __init__(self, modules):
        self.outputs = {}
        self.hooks = [module.register_forward_hook(self.keep(name)) for name, module in modules.items()]

    def keep(self, name):
        def hook(_, __, output):
            output = output[0] if isinstance(output, tuple) else getattr(output, "last_hidden_state", output)
            self.outputs.setdefault(name, output.detach().clone())

        return hook


def spans(ids, token):
    """[start, length] of each run of `token`."""
    found = []
    for place, id_ in enumerate(ids):
        if id_ == token and found and sum(found[-1]) == place:
            found[-1][1] += 1
        elif id_ == token:
            found.append([place, 1])
    return found


class Fixture:
    """A fixture derived from another: its configuration changed, weights of its own."""

    base = ""
    model_class = ""
    config = {}
    preprocessor = {}
    gains = {}
    seed = 1
    cases = (0,)
    first_position = 0
    # Whether a person can compare every number.
    whole = False

    def __init__(self):
        self.golden = HERE / self.base
        self.folder = HERE / type(self).__name__

    def read(self, name):
        return json.loads((self.golden / name).read_text())

    def pixels(self, inputs):
        """The pixels of all views that show something, picture by picture."""
        return inputs["pixel_values"]

    def language(self, model):
        """The text model."""
        return model.model.language_model

    def modules(self, model):
        """Modules whose outputs are `vision_tower` and `image_embeds`."""
        raise NotImplementedError

    def mend(self, model):
        """Puts back what the reference has lost."""

    def shown(self, outputs):
        """What the modules put out, as the model goes on with it."""
        return outputs

    def request(self, case):
        """What is asked in a case, and where its pictures are."""
        folder = self.golden / "cases" / str(case)
        pictures = sorted(folder.glob("image*.png"), key=lambda path: (len(path.name), path.name))
        return json.loads((folder / "prompt.json").read_text()), pictures

    def prepare(self, processor, request, pictures):
        """Rendered text, and what the model is given."""
        text = processor.apply_chat_template(request["messages"], add_generation_prompt=True)
        # A template that writes the begin token itself is not given another.
        bare = text.startswith(processor.tokenizer.bos_token or "\0")
        inputs = processor(text=text, images=pictures or None, return_tensors="pt", add_special_tokens=not bare)
        inputs.pop("token_type_ids", None)
        return text, inputs

    def make(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        for path in sorted(self.golden.iterdir()):
            if path.is_file() and path.name not in (WEIGHTS, "vocab.json", "merges.txt", "tokenizer.model"):
                shutil.copyfile(path, self.folder / path.name)
        config = merged(self.read("config.json"), self.config)
        self.write("config.json", config)
        if self.preprocessor:
            self.write("preprocessor_config.json", merged(self.read("preprocessor_config.json"), self.preprocessor))
        cls = getattr(transformers, self.model_class)
        parsed = cls.config_class.from_dict(config)
        parsed._attn_implementation = "eager"
        model = cls(parsed).to(torch.float32).eval()
        randomise(model, self.seed, self.gains)
        self.mend(model)
        model.generation_config.eos_token_id = None
        model.save_pretrained(self.folder / "saved")
        weights = load_file(self.folder / "saved" / WEIGHTS)
        shutil.rmtree(self.folder / "saved")
        weights = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in sorted(weights.items())}
        save_file(weights, self.folder / WEIGHTS, metadata={"format": "pt"})
        processor = self.processor()
        for number, case in enumerate(self.cases):
            self.case(model, processor, number, case)

    def processor(self):
        """The reference's, with the image processor that resizes as Pillow does."""
        processor = transformers.AutoProcessor.from_pretrained(self.folder)
        processor.image_processor = transformers.AutoImageProcessor.from_pretrained(self.folder, use_fast=False)
        return processor

    def write(self, name, value):
        (self.folder / name).write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")

    def case(self, model, processor, number, case):
        request, paths = self.request(case)
        at = f"cases/{number}"
        (self.folder / at).mkdir(parents=True)
        pictures = []
        for index, path in enumerate(paths):
            name = f"image{index or ''}.png"
            shutil.copyfile(path, self.folder / at / name)
            pictures.append(Image.open(path).convert("RGB"))
        self.write(f"{at}/prompt.json", request)
        text, inputs = self.prepare(processor, request, pictures)
        language = self.language(model)
        layers = {"hidden_first": language.layers[0], "hidden_last": language.layers[-1]}
        with torch.no_grad():
            kept = Kept(layers | (self.modules(model) if pictures else {}))
            prompt = model(**inputs, use_cache=False).logits[0]
            for hook in kept.hooks:
                hook.remove()
            answer = model.generate(
                **inputs, do_sample=False, max_new_tokens=NEW_TOKENS, output_logits=True, return_dict_in_generate=True
            )
        ids = inputs["input_ids"][0].tolist()
        steps = torch.cat(answer.logits)
        chosen = answer.sequences[0, len(ids) :].tolist()
        assert chosen == steps.argmax(-1).tolist() and len(chosen) == NEW_TOKENS
        best = steps.topk(2).values
        tensors = {name: value[0] if name.startswith("hidden") else value for name, value in self.shown(kept.outputs).items()}
        tensors |= {"logits_prompt": prompt, "logits_steps": steps}
        if number == 0 and "pixel_values" in inputs:
            tensors["pixel_values"] = self.pixels(inputs)
        tensors |= {name: inputs[name] for name in ("aspect_ratio_ids", "cross_attention_mask") if name in inputs}
        tensors = {name: value.contiguous().numpy() for name, value in sorted(tensors.items())}
        tensors = tensors if self.whole else sketch.sketched(tensors)
        safetensors.numpy.save_file(tensors, self.folder / at / sketch.EXPECTED)
        first = self.first_position
        token = model.config.image_token_id
        self.write(
            f"{at}/expected.json",
            {
                "prompt": text,
                "input_ids": ids,
                "position_ids": list(range(first, first + len(ids))),
                "image_spans": spans(ids, token),
                "generated_ids": chosen,
                "generated_text": processor.tokenizer.decode(chosen, skip_special_tokens=True),
                "generated_position_ids": list(range(first + len(ids), first + len(ids) + len(chosen))),
                "min_margin": round((best[:, 0] - best[:, 1]).min().item(), 5),
            },
        )
        size = sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
        margin = (best[:, 0] - best[:, 1]).min().item()
        assert margin > 0.02, "another order of summation could choose other tokens: take another seed"
        print(f"{self.folder.name}/{number}: {len(ids)} rows, margin {margin:.3f}, logits {prompt.std():.2f}, {size}")


class paligemma2(Fixture):
    """PaliGemma 2: Gemma 2 with a window shorter than the prompt, and caps that are felt."""

    base = "paligemma"
    model_class = "PaliGemmaForConditionalGeneration"
    config = {
        "hidden_size": 2048,
        "projection_dim": 48,
        "num_hidden_layers": 26,
        "text_config": {
            "architectures": ["Gemma2ForCausalLM"],
            "model_type": "gemma2",
            "hidden_size": 48,
            "intermediate_size": 68,
            "head_dim": 16,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "num_hidden_layers": 4,
            "sliding_window": 9,
            "query_pre_attn_scalar": 11,
            "attn_logit_softcapping": 2.5,
            "final_logit_softcapping": 3.0,
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_activation": "gelu_pytorch_tanh",
            "cache_implementation": "hybrid",
            "eos_token_id": [1, 107],
        },
        "vision_config": {"projection_dim": 48},
    }
    first_position = 1
    cases = (2,)
    seed = 2

    def modules(self, model):
        return {"vision_tower": model.model.vision_tower, "image_embeds": model.model.multi_modal_projector}

    def mend(self, model):
        # In 4.49.0 the language model is a Gemma2ForCausalLM, which bounds its logits; 4.57.1 calls the head itself.
        cap = self.config["text_config"]["final_logit_softcapping"]
        model.lm_head.register_forward_hook(lambda _, __, logits: torch.tanh(logits / cap) * cap)

    def shown(self, outputs):
        width = self.config["projection_dim"]
        return outputs | {"image_embeds": outputs["image_embeds"] / width**0.5}

    def prepare(self, processor, request, pictures):
        inputs = processor(text=request["prompt"], images=pictures, return_tensors="pt")
        return processor.tokenizer.decode(inputs["input_ids"][0]), inputs


class pixtral_window(Fixture):
    """Pixtral whose text model has Mistral's window, shorter than the prompt."""

    base = "pixtral"
    model_class = "LlavaForConditionalGeneration"
    config = {"text_config": {"sliding_window": 21}}
    seed = 8

    def modules(self, model):
        return {"vision_tower": model.model.vision_tower, "image_embeds": model.model.multi_modal_projector}


class smolvlm(Fixture):
    """SmolVLM: squares of 4 x 4 patches become a token, the head is the embedding, keys of its own configuration class."""

    base = "idefics3"
    model_class = "SmolVLMForConditionalGeneration"
    config = {
        "architectures": ["SmolVLMForConditionalGeneration"],
        "model_type": "smolvlm",
        "scale_factor": 4,
        "tie_word_embeddings": True,
        "text_config": {"rope_interleaved": False, "tie_word_embeddings": True},
        "vision_config": {
            "image_size": 64,
            "max_image_size": {"longest_edge": 64},
            "patch_size": 8,
            "model_type": "smolvlm_vision",
            "size": {"longest_edge": 128},
        },
    }
    preprocessor = {
        "image_processor_type": "SmolVLMImageProcessor",
        "processor_class": "SmolVLMProcessor",
        "max_image_size": {"longest_edge": 64},
        "size": {"longest_edge": 128},
        "video_sampling": {"fps": 1, "max_frames": 64, "video_size": {"longest_edge": 64}},
    }

    gains = {"embed_tokens": 0.2}
    seed = 3
    whole = True

    def mend(self, model):
        # As published models were trained, and as 4.54.1 has it: 4.57.1 puts the patches of a full side at 0, 0, 1, 2, ...
        embeddings = model.model.vision_model.embeddings

        def forward(pixel_values, patch_attention_mask):
            side = embeddings.num_patches_per_side
            positions = torch.zeros(patch_attention_mask.shape, dtype=torch.int64)
            for tile, mask in enumerate(patch_attention_mask):
                height, width = int(mask[:, 0].sum()), int(mask[0].sum())
                rows = torch.arange(height) * side // height
                columns = torch.arange(width) * side // width
                positions[tile, :height, :width] = rows[:, None] * side + columns
            patches = embeddings.patch_embedding(pixel_values).flatten(2).transpose(1, 2)
            return patches + embeddings.position_embedding(positions.flatten(1))

        embeddings.forward = forward

    def language(self, model):
        return model.model.text_model

    def modules(self, model):
        return {"vision_tower": model.model.vision_model, "image_embeds": model.model.connector}

    def processor(self):
        # SmolVLM's own differs from Idefics3's in videos alone, for which it needs torchvision.
        from transformers.models.smolvlm.image_processing_smolvlm import SmolVLMImageProcessor

        tokenizer = transformers.AutoTokenizer.from_pretrained(self.folder)
        template = self.read("chat_template.json")["chat_template"]
        pictures = transformers.Idefics3ImageProcessor.from_pretrained(self.folder)
        processor = transformers.Idefics3Processor(pictures, tokenizer, image_seq_len=4, chat_template=template)
        processor.image_processor = SmolVLMImageProcessor.from_pretrained(self.folder)
        return processor


class internvl_6b(Fixture):
    """InternVL with the options of InternViT-6B: RMSNorm, norms of queries and keys, no biases there; and a norm behind the
    tower, a LayerNorm whatever the others are."""

    base = "internvl"
    model_class = "InternVLForConditionalGeneration"
    config = {
        "vision_config": {
            "attention_bias": False,
            "hidden_size": 60,
            "layer_norm_eps": 1e-3,
            "norm_type": "rms_norm",
            "num_attention_heads": 5,
            "num_hidden_layers": 2,
            "use_mean_pooling": False,
            "use_qk_norm": True,
        }
    }
    cases = (1,)
    seed = 6

    def modules(self, model):
        return {"vision_tower": model.model.vision_tower, "image_embeds": model.model.multi_modal_projector}

    def processor(self):
        return InternProcessor(self)


class InternProcessor:
    """What InternVLProcessor makes of pictures and text; that one needs torchvision, for videos."""

    def __init__(self, fixture):
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(fixture.folder)
        self.template = fixture.read("chat_template.json")["chat_template"]
        self.image_processor = transformers.GotOcr2ImageProcessor.from_pretrained(fixture.folder)
        self.rows = fixture.read("config.json")["image_seq_length"]

    def apply_chat_template(self, messages, add_generation_prompt):
        return self.tokenizer.apply_chat_template(
            messages, chat_template=self.template, add_generation_prompt=add_generation_prompt, tokenize=False
        )

    def __call__(self, text, images, **options):
        context, inputs = "<IMG_CONTEXT>", {}
        for image in images or []:
            found = self.image_processor(image, crop_to_patches=True, return_tensors="pt")
            inputs["pixel_values"] = found["pixel_values"]
            rows = "\0" * (self.rows * len(found["pixel_values"]))
            text = text.replace(context, f"<img>{rows}</img>", 1)
        return self.tokenizer(text.replace("\0", context), **options) | inputs


class mllama_two(Fixture):
    """Llama 3.2 Vision with several pictures: a row sees those of the last run of picture tokens."""

    base = "mllama"
    model_class = "MllamaForConditionalGeneration"
    cases = (0, 1)

    def pixels(self, inputs):
        return inputs["pixel_values"][inputs["aspect_ratio_mask"].bool()]

    def request(self, case):
        picture = lambda number: self.golden / "cases" / str(number) / "image.png"
        say = lambda text: {"type": "text", "text": text}
        image = {"type": "image"}
        if case == 0:
            content = [image, say("Which is wider?"), image, say("And why?")]
            return {"messages": [{"role": "user", "content": content}]}, [picture(0), picture(1)]
        messages = [
            {"role": "user", "content": [say("First look. "), image, image, say("Same?")]},
            {"role": "assistant", "content": [say("No.")]},
            {"role": "user", "content": [image, say("Now?")]},
        ]
        return {"messages": messages}, [picture(1), picture(0), picture(0)]

    def modules(self, model):
        return {"vision_tower": model.model.vision_model, "image_embeds": model.model.multi_modal_projector}


if __name__ == "__main__":
    torch.set_num_threads(1)
    known = [paligemma2, pixtral_window, smolvlm, internvl_6b, mllama_two]
    wanted = sys.argv[1:] or [cls.__name__ for cls in known]
    for cls in known:
        if cls.__name__ in wanted:
            cls().make()
