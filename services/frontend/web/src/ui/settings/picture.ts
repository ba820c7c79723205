import { limits } from '../../api/wire';

const side = 256; // px

// shrunk makes a square of a picture, so small that the server takes it: nobody has such pictures at hand.
export async function shrunk(file: Blob): Promise<Blob> {
  const image = await createImageBitmap(file).catch(() => {
    throw new Error('This is no picture that the browser can read. Choose a PNG, JPEG or WebP.');
  });
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = side;
  const edge = Math.min(image.width, image.height);
  canvas.getContext('2d')?.drawImage(image, (image.width - edge) / 2, (image.height - edge) / 2, edge, edge, 0, 0, side, side);
  image.close();
  for (const quality of [0.9, 0.75, 0.5]) {
    const out = await new Promise<Blob | null>((done) => canvas.toBlob(done, 'image/jpeg', quality));
    if (out && out.size <= limits.picture) return out;
  }
  throw new Error('The picture cannot be made small enough. Choose another one.');
}
