// Reads DICOM objects with dcmjs, the library under OHIF, and prints what it finds as JSON.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [folder, ...paths] = process.argv.slice(2);
const { default: dcmjs } = await import(createRequire(`${folder}/`).resolve("dcmjs").replace(".js.map", ".js"));
const { BitArray, DicomMessage, DicomMetaDictionary } = dcmjs.data;

function items(item) {
    const own = [item.ContentSequence ?? []].flat();
    return own.flatMap((one) => [one, ...items(one)]);
}

function values(dataset) {
    if (dataset.FloatPixelData) {
        const bytes = [dataset.FloatPixelData].flat()[0];
        return Array.from(bytes instanceof ArrayBuffer ? new Float32Array(bytes) : bytes);
    }
    if (!dataset.PixelData) return [];
    const bytes = new Uint8Array([dataset.PixelData].flat()[0]);
    if (dataset.BitsAllocated !== 1) return Array.from(bytes);
    return Array.from(BitArray.unpack(bytes), (value) => Math.sign(value)); // from 0 and 255
}

console.log = console.warn = () => {};
const found = paths.map((path) => {
    const file = readFileSync(path);
    const raw = DicomMessage.readFile(file.buffer.slice(file.byteOffset, file.byteOffset + file.byteLength));
    const dataset = DicomMetaDictionary.naturalizeDataset(raw.dict);
    const content = items(dataset);
    const named = (code) => content.filter((item) => item.ConceptNameCodeSequence?.[0]?.CodeValue === code);
    return {
        sop: dataset.SOPInstanceUID,
        values: values(dataset),
        levels: [dataset.PerFrameFunctionalGroupsSequence ?? []]
            .flat()
            .map((frame) => Number(frame.PlanePositionSequence[0].ImagePositionPatient[2])),
        probability: named("122157").map((item) => Number(item.MeasuredValueSequence[0].NumericValue)),
        maps: named("130401").map((item) => item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID),
    };
});
process.stdout.write(JSON.stringify(found));
