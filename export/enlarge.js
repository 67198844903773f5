// Enlarges the picture that is dropped on the page, tile by tile, and shows it with the slider.

const SCALE = 4;
// Side of a tile in pixels. A tile of this side takes 0.6 GB.
const TILE = 256;
// Each worker computes a tile at a time, with one thread; more of them would take too much memory.
const WORKERS = Math.min(4, navigator.hardwareConcurrency);
// The largest canvas that all browsers have: pixels on a side, and pixels in all.
const MAX_SIDE = 16384, MAX_AREA = 2 ** 28;

const find = selector => document.querySelector(selector);
const input = find('.drop input'), status = find('.status'), bar = find('progress'), result = find('.result');
const margin = Number(result.dataset.margin);
const workers = Array.from({length: WORKERS}, () => new Worker('worker.js', {type: 'module'}));

// The function of this name in cpu/tiles.py: windows that cover a side of the picture, as [start, stop, keep from, to].
function windows(length, size) {
  if (length <= size) return [[0, length, 0, length]];
  const inner = length - 2 * margin, count = Math.ceil(inner / (size - 2 * margin)), step = Math.ceil(inner / count);
  return Array.from({length: count}, (_, i) => {
    const start = Math.min(i * step, inner - step);
    return [start, start + step + 2 * margin, i ? i * step + margin : 0,
            i + 1 < count ? (i + 1) * step + margin : length];
  });
}

function canvas(width, height) {
  const made = Object.assign(document.createElement('canvas'), {width, height});
  return made.getContext('2d', {willReadFrequently: true});
}

const png = context => new Promise((resolve, reject) => context.canvas.toBlob(blob => {
  if (blob) resolve(URL.createObjectURL(blob));
  else reject(Error('The browser has not enough memory.'));
}));

// A tile, ImageData, enlarged by a worker.
const ask = (worker, tile) => new Promise((resolve, reject) => {
  worker.onmessage = ({data}) => data.error ? reject(Error(data.error)) : resolve(data);
  worker.onerror = event => reject(Error(event.message || 'worker.js cannot be loaded.'));
  worker.postMessage(tile, [tile.data.buffer]);
});

async function enlarge(file) {
  const bitmap = await createImageBitmap(file).catch(() => {
    throw Error(`${file.name} is no picture that this browser can read.`);
  });
  const {width, height} = bitmap;
  if (SCALE * Math.max(width, height) > MAX_SIDE || SCALE ** 2 * width * height > MAX_AREA)
    throw Error(`${file.name} has ${width} × ${height} pixels, too many for a browser; upscale.py can enlarge it.`);
  const source = canvas(width, height), enlarged = canvas(SCALE * width, SCALE * height);
  source.fillStyle = '#fff';
  source.fillRect(0, 0, width, height);
  source.drawImage(bitmap, 0, 0);
  bitmap.close();

  const columns = windows(width, TILE);
  const tiles = windows(height, TILE).flatMap(row => columns.map(column => [row, column]));
  Object.assign(bar, {max: tiles.length, value: 0, hidden: false});
  await Promise.all(workers.map(async worker => {
    while (tiles.length) {
      const [[top, bottom, first, last], [left, right, from, to]] = tiles.shift();
      const tile = await ask(worker, source.getImageData(left, top, right - left, bottom - top));
      enlarged.putImageData(tile, SCALE * left, SCALE * top, SCALE * (from - left), SCALE * (first - top),
                            SCALE * (to - from), SCALE * (last - first));
      status.textContent = `${file.name}: tile ${++bar.value} of ${bar.max}`;
    }
  }));
  await show(file.name, source, enlarged);
}

async function show(name, source, enlarged) {
  const images = [...result.querySelectorAll('.canvas img')], save = find('.save');
  const [small, large] = [await png(source), await png(enlarged)];
  for (const address of new Set(images.map(image => image.src))) URL.revokeObjectURL(address);
  images.forEach((image, index) => image.src = index + 1 < images.length ? small : large);
  await Promise.all(images.map(image => image.decode()));
  result.querySelector('h2').textContent = name;
  result.querySelector('.comparison').style.cssText =
    `--width:${enlarged.canvas.width}; --height:${enlarged.canvas.height}`;
  Object.assign(save, {href: large, download: name.replace(/\.[^.]*$/, '') + `_x${SCALE}.png`});
  result.hidden = false;
  // The slider's script places the divider.
  dispatchEvent(new Event('resize'));
}

async function start(file) {
  if (!file || input.disabled) return;
  input.disabled = true;
  result.hidden = true;
  const begun = performance.now();
  status.textContent = `${file.name}: reading the network`;
  try {
    await enlarge(file);
    status.textContent = `${file.name}: enlarged in ${((performance.now() - begun) / 1000).toPrecision(2)} s`;
  } catch (error) {
    status.textContent = error.message;
  }
  bar.hidden = true;
  input.value = '';
  input.disabled = false;
}

input.addEventListener('change', () => start(input.files[0]));
for (const type of ['dragover', 'dragleave', 'drop'])
  addEventListener(type, event => {
    event.preventDefault();
    find('.drop').classList.toggle('over', type === 'dragover');
    if (type === 'drop') start(event.dataTransfer.files[0]);
  });
input.disabled = false;
