// Enlarges a tile: ImageData in, ImageData of four times its sides out, or {error} with the reason.
import * as ort from './ort.js';

// More threads need headers that simple web servers do not send.
ort.env.wasm.numThreads = 1;
const network = ort.InferenceSession.create('network.onnx');

onmessage = async ({data: {data, width, height}}) => {
  try {
    const pixels = new ort.Tensor('uint8', without_alpha(data), [1, height, width, 3]);
    const {enlarged} = await (await network).run({pixels});
    const tile = new ImageData(with_alpha(enlarged.data), enlarged.dims[2]);
    postMessage(tile, [tile.data.buffer]);
  } catch (error) {
    postMessage({error: `The network cannot be computed: ${error.message ?? error}`});
  }
};

function without_alpha(rgba) {
  const rgb = new Uint8Array(rgba.length / 4 * 3);
  for (let from = 0, to = 0; from < rgba.length; from++) if (from % 4 < 3) rgb[to++] = rgba[from];
  return rgb;
}

function with_alpha(rgb) {
  const rgba = new Uint8ClampedArray(rgb.length / 3 * 4);
  for (let from = 0, to = 0; to < rgba.length; to++) rgba[to] = to % 4 < 3 ? rgb[from++] : 255;
  return rgba;
}
