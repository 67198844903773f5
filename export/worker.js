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
  for (let i = 0, j = 0; i < rgba.length; i += 4, j += 3) [rgb[j], rgb[j + 1], rgb[j + 2]] = [rgba[i], rgba[i + 1], rgba[i + 2]];
  return rgb;
}

function with_alpha(rgb) {
  const rgba = new Uint8ClampedArray(rgb.length / 3 * 4).fill(255);
  for (let i = 0, j = 0; j < rgb.length; i += 4, j += 3) [rgba[i], rgba[i + 1], rgba[i + 2]] = [rgb[j], rgb[j + 1], rgb[j + 2]];
  return rgba;
}
