/** One file as a run of rows, which can be read in batches from any row. It is open only while it is read. */
import type { RecordBatch, Schema } from "apache-arrow";
import type { Core, RowColumn, RowTensor, TensorFile } from "saeflow";

export interface Segment {
	readonly path: string;
	readonly schema: Schema;
	readonly rows: number;
	/** Batches from row `start` on. */
	batches(start: number): AsyncIterable<RecordBatch>;
	/** Opens it for reading rows in any order, where that costs no more. */
	openRows?(): Promise<RandomRows>;
}

/** Rows that can be read in any order. */
export interface RandomRows {
	/** Rows `from` to `to` (exclusive). */
	readRows(from: number, to: number): Promise<RecordBatch[]>;
	close(): Promise<void>;
}

export interface SegmentOptions {
	/** Array of a file of arrays, or column of an Arrow file. */
	readonly tensor?: string | undefined;
	/** One-dimensional array of token ids beside it. */
	readonly tokenTensor?: string | undefined;
	readonly batchRows: number;
}

/** Opens a file of any format, by its content. */
export async function openSegment(core: Core, path: string, options: SegmentOptions): Promise<Segment> {
	const bytes = await core.openFile(path);
	const format = await core.detectFormat(bytes).finally(() => bytes.close());
	if (format === "arrow") return openArrowSegment(core, path, options);
	return openTensorSegment(core, path, options);
}

/** An Arrow file, with all its columns. Its headers are read once over, so that damage shows before any row is out. */
async function openArrowSegment(core: Core, path: string, options: SegmentOptions): Promise<Segment> {
	if (options.tokenTensor !== undefined) {
		throw core.usageError(
			`${path}: is an Arrow file, whose columns all come along; leave out --token-tensor`,
		);
	}
	const { schema, rows } = await core.scanArrow(path);
	if (options.tensor !== undefined) core.findVectorField(schema, options.tensor);
	else if (core.vectorFields(schema).length === 0) {
		const columns = schema.fields.map((field) => field.name).join(", ");
		throw new core.SaeError(`${path}: no column holds vectors of floats; there are: ${columns || "none"}`);
	}
	return {
		path,
		schema,
		rows,
		async *batches(start) {
			yield* (await core.openArrow(path, start)).batches;
		},
	};
}

async function openTensorSegment(core: Core, path: string, options: SegmentOptions): Promise<Segment> {
	const file = await core.openTensorFile(path);
	const { vectors, tokens } = await Promise.try(arraysOf, core, file, options).finally(() => file.close());
	const { rows, width } = vectors;
	const columns: RowColumn[] = tokens ? ["token"] : [];
	const type = vectors.dtype === "f16" ? "float16" : "float32";
	const schema = core.activationsSchema({ width, type, columns });
	return {
		path,
		schema,
		rows,
		async *batches(start) {
			const file = await core.openTensorFile(path);
			try {
				const { vectors, tokens } = arraysOf(core, file, options);
				for (let row = start; row < rows; row += options.batchRows) {
					const count = Math.min(options.batchRows, rows - row);
					const token = await tokens?.readIntegers(row, count);
					yield core.activationsBatch(schema, await vectors.readRows(row, count), token ? { token } : {});
				}
			} finally {
				await file.close();
			}
		},
	};
}

function arraysOf(core: Core, file: TensorFile, { tensor, tokenTensor }: SegmentOptions) {
	const vectors = core.rowTensor(file, tensor);
	const tokens = tokenTensor === undefined ? undefined : tokensOf(core, file, vectors, tokenTensor);
	return { vectors, tokens };
}

/** Token ids, one for each row of the vectors. */
function tokensOf(core: Core, file: TensorFile, vectors: RowTensor, name: string): RowTensor {
	const tokens = core.rowTensor(file, name);
	const values = tokens.rows * tokens.width;
	if (values !== vectors.rows) {
		throw new core.SaeError(
			`${file.path}: ${name} has ${values} values for the ${vectors.rows} rows of ${vectors.name}`,
		);
	}
	return tokens;
}
