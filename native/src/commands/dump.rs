//! `fovea dump`: what every stage of a model computes, in one safetensors file, for comparison with a reference.

use std::path::{Path, PathBuf};

use fovea_engine::{sketch::Sketch, weights::foreign};
use fovea_models::{GenerateOptions, Session, image::View};
use safetensors::{Dtype, SafeTensorError, SafeTensors, tensor::TensorView};

use crate::{
    common::Common,
    failure::{Failure, Kind, Outcome},
    input::{self, read_bounded},
    json::{self, Dump, VERSION},
    model::Quantisation,
    output::{Output, bytes},
    picture,
    prompt::{Images, Prompt},
    room::Room,
};

const EXAMPLES: &str = "\
Examples:
  fovea dump --model ./Qwen2-VL-2B-Instruct --messages prompt.json --image page.png --out stages.safetensors";

/// Largest file of pixels that is read.
const LARGEST_PIXELS: u64 = 4 << 30;

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    images: Images,
    /// A safetensors file whose `pixel_values` are taken instead of preparing the pictures.
    #[arg(long, value_name = "FILE", value_parser = input::path())]
    pixels: Option<PathBuf>,
    /// How many tokens to draw, greedily and whatever they are.
    #[arg(long, value_name = "N", default_value_t = 16, allow_negative_numbers = true)]
    new_tokens: usize,
    /// Write 256 random projections of each tensor instead of its numbers, as the repository's fixtures have them; logits
    /// of the new tokens and ids stay whole.
    #[arg(long)]
    sketch: bool,
    /// Where to write.
    #[arg(long, value_name = "FILE", value_parser = input::output_path())]
    out: PathBuf,
}

/// One of them.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// A file of {"messages": [...]} or {"prompt": text}.
    #[arg(long, value_name = "FILE", value_parser = input::path())]
    messages: Option<PathBuf>,
    /// A prompt as the model reads it, placeholders not expanded.
    #[arg(long, value_name = "TEXT", allow_negative_numbers = true, value_parser = input::text())]
    prompt: Option<String>,
    /// A file of token ids: [1, 2] or {"input_ids": [1, 2]}, image slots expanded or not.
    #[arg(long, value_name = "FILE", value_parser = input::path())]
    ids: Option<PathBuf>,
}

impl Source {
    fn prompt(&self) -> Outcome<Prompt> {
        match self {
            Self { messages: Some(path), .. } => Prompt::read(path),
            Self { ids: Some(path), .. } => Prompt::read_ids(path),
            Self { prompt: Some(text), .. } if !text.is_empty() => Ok(Prompt::Text(text.clone())),
            _ => Err(Failure::usage("the prompt is empty")),
        }
    }
}

pub(crate) fn run(arguments: &Arguments, common: &Common, output: &mut Output) -> Outcome {
    let prompt = arguments.source.prompt()?;
    let pictures = arguments.images.images.iter().map(|path| picture::open(path)).collect::<Outcome<Vec<_>>>()?;
    let pictures = prompt.pictures(pictures)?;
    let pixels = arguments.pixels.as_deref().map(read_pixels).transpose()?;
    Room::open(&common.model.find()?)?.prompt(&prompt, &pictures, arguments.new_tokens)?;
    let loaded = common.model.load(&common.gpu, Quantisation::F32)?;
    let blueprint = loaded.system.blueprint();
    let mut session = Session::new(&loaded.system)?;

    let (mut counts, mut shape) = (Vec::new(), 1);
    for (index, picture) in pictures.iter().enumerate() {
        let paths = Some(&arguments.images.images).filter(|paths| paths.len() == pictures.len());
        let prepared =
            blueprint.image.prepare(picture).map_err(|error| match paths.and_then(|paths| paths.get(index)) {
                Some(path) => Failure::picture(path, &error),
                None => Failure::new(Kind::Input, format_args!("picture {}: {error}", index + 1)),
            })?;
        counts.push(prepared.views.iter().map(View::values).sum::<usize>());
        shape = prepared.views.first().map_or(1, View::patch_width);
    }
    if let (Some(pixels), Some(path)) = (&pixels, &arguments.pixels) {
        let needed: usize = counts.iter().sum();
        if pixels.len() != needed {
            let reason = format!("pixel_values have {} numbers, the pictures need {needed}", pixels.len());
            return Err(Failure::file(path, reason));
        }
    }
    let mut file = File { sketch: arguments.sketch, tensors: Vec::new() };
    let (mut images, mut given) = (Vec::new(), pixels.as_deref());
    let [mut pixel_values, mut tower, mut embeds, mut cross] = [const { Vec::new() }; 4];
    for (picture, count) in pictures.iter().zip(counts) {
        let (own, rest) = match given.and_then(|given| given.split_at_checked(count)) {
            Some((own, rest)) => (Some(own), Some(rest)),
            None => (None, None),
        };
        given = rest;
        let (image, stages) = pollster::block_on(session.encode_stages(picture, own))?;
        images.push(image);
        pixel_values.extend(stages.pixel_values);
        tower.extend(stages.tower);
        embeds.extend(stages.embeds);
        cross.extend(stages.cross.unwrap_or_default());
    }
    if !pictures.is_empty() {
        file.floats("pixel_values", shape, &pixel_values)?;
        file.floats("vision_tower", blueprint.vision.tower.width(), &tower)?;
        file.floats("image_embeds", blueprint.vision.connector.out(), &embeds)?;
        if let Some((tower, _)) = &blueprint.vision.cross {
            file.floats("cross_vision", tower.hidden, &cross)?;
        }
    }

    let prompt = prompt.prepare(&session, &images)?;
    let (hidden, vocabulary) = (blueprint.decoder.hidden, blueprint.decoder.vocabulary);
    let stages = pollster::block_on(session.prefill_stages(&prompt))?;
    file.floats("hidden_first", hidden, &stages.hidden_first)?;
    file.floats("hidden_last", hidden, &stages.hidden_last)?;
    file.floats("logits_prompt", vocabulary, &stages.logits)?;
    file.ids("input_ids", &prompt.ids);

    let options = GenerateOptions { max_tokens: arguments.new_tokens, ignore_stop: true, ..GenerateOptions::default() };
    if arguments.new_tokens > 0 {
        let (ids, logits) = pollster::block_on(session.generate_stages(&prompt, &options))?;
        file.whole("logits_steps", vec![ids.len(), vocabulary], &logits);
        file.ids("generated_ids", &ids);
    }
    let summary = file.write(&arguments.out)?;
    if output.is_json() {
        let (out, tensors) = (json::path(&arguments.out), summary.into_iter().collect());
        return output.value(&Dump { version: VERSION, out, tensors });
    }
    for (name, shape) in &summary {
        output.line(format_args!("{name:<14} {shape:?}"))?;
    }
    let size = std::fs::metadata(&arguments.out).map_or(0, |metadata| metadata.len());
    output.line(format_args!("written: {} ({})", arguments.out.display(), bytes(size)))
}

/// `pixel_values` of a safetensors file, all pictures one after the other; `cross_pixel_values` behind them for a system
/// that looks twice.
fn read_pixels(path: &Path) -> Outcome<Vec<f32>> {
    let bytes = read_bounded(path, LARGEST_PIXELS).map_err(|error| Failure::file(path, error))?;
    let named =
        |error: SafeTensorError| foreign(bytes.get(..512).unwrap_or(&bytes)).map_or(error.to_string(), str::to_owned);
    let tensors = SafeTensors::deserialize(&bytes).map_err(|error| Failure::file(path, named(error)))?;
    let first = tensors.tensor("pixel_values").map_err(|_| Failure::file(path, "tensor pixel_values is missing"))?;
    let mut values = Vec::new();
    for (name, tensor) in
        [("pixel_values", Some(first)), ("cross_pixel_values", tensors.tensor("cross_pixel_values").ok())]
    {
        let Some(tensor) = tensor else { continue };
        if tensor.dtype() != Dtype::F32 {
            return Err(Failure::file(path, format_args!("tensor {name} is {:?}, expected F32", tensor.dtype())));
        }
        let (words, _) = tensor.data().as_chunks::<4>();
        values.extend(words.iter().map(|&word| f32::from_le_bytes(word)));
    }
    Ok(values)
}

/// Tensors on their way to a file.
struct File {
    /// Whether to write sketches.
    sketch: bool,
    tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)>,
}

impl File {
    fn floats(&mut self, name: &str, width: usize, values: &[f32]) -> Outcome {
        let shape = vec![values.len() / width.max(1), width];
        if self.sketch {
            let defect = |error| Failure::new(Kind::Defect, format_args!("{name}: {error}"));
            let sketch = Sketch::of(&shape, values).map_err(defect)?;
            let bytes = sketch.values().iter().flat_map(|value| value.to_le_bytes()).collect();
            self.tensors.push((format!("{name}.sketch"), Dtype::F64, vec![sketch.values().len()], bytes));
            let sides = shape.iter().flat_map(|&side| (side as i64).to_le_bytes()).collect();
            self.tensors.push((format!("{name}.shape"), Dtype::I64, vec![shape.len()], sides));
            return Ok(());
        }
        self.whole(name, shape, values);
        Ok(())
    }

    fn whole(&mut self, name: &str, shape: Vec<usize>, values: &[f32]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensors.push((name.to_owned(), Dtype::F32, shape, bytes));
    }

    fn ids(&mut self, name: &str, ids: &[u32]) {
        let bytes = ids.iter().flat_map(|&id| i64::from(id).to_le_bytes()).collect();
        self.tensors.push((name.to_owned(), Dtype::I64, vec![ids.len()], bytes));
    }

    /// Writes the file; returns each tensor's shape.
    fn write(&self, path: &Path) -> Outcome<Vec<(String, Vec<usize>)>> {
        let defect = |error: safetensors::SafeTensorError| Failure::file(path, error);
        let mut views = Vec::new();
        for (name, dtype, shape, bytes) in &self.tensors {
            views.push((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).map_err(defect)?));
        }
        safetensors::serialize_to_file(views, None, path).map_err(defect)?;
        Ok(self.tensors.iter().map(|(name, _, shape, _)| (name.clone(), shape.clone())).collect())
    }
}
