// nano's files for `Fovea.load({ model: 'nano' })`, each in the form that bundlers recognise: they copy the file and put its
// new address here. The build compares the list with the folder.

const files = {
  'manifest.json': new URL('./model/manifest.json', import.meta.url).href,
  'chat_template.json': new URL('./model/chat_template.json', import.meta.url).href,
  'config.json': new URL('./model/config.json', import.meta.url).href,
  'generation_config.json': new URL('./model/generation_config.json', import.meta.url).href,
  'model.safetensors': new URL('./model/model.safetensors', import.meta.url).href,
  'preprocessor_config.json': new URL('./model/preprocessor_config.json', import.meta.url).href,
  'tokenizer.json': new URL('./model/tokenizer.json', import.meta.url).href,
  'tokenizer_config.json': new URL('./model/tokenizer_config.json', import.meta.url).href,
};

export default { name: 'nano', files };
