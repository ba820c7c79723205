// Names and titles are what others chose, and may hold characters that change the direction of writing. In an element of
// its own, a name stands in <bdi>; within a sentence or an attribute, in Unicode's isolates.

const begin = '\u2068'; // first strong isolate
const end = '\u2069'; // pop directional isolate
// What would end the isolate before its end, or begin another.
const isolates = /[\u2066-\u2069]/g;

// isolate keeps a name from reordering what stands around it.
export const isolate = (name: string): string => begin + name.replace(isolates, '') + end;
