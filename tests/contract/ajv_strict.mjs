// Compiles every schema with Ajv in strict mode, and holds the examples to them: native ones, and bodies of other formats that are
// taken whole:
//   npm install --no-save --prefix /tmp/ajv ajv && NODE_PATH=/tmp/ajv/node_modules node tests/contract/ajv_strict.mjs
import { readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'

const Ajv = createRequire(join(process.env.NODE_PATH ?? '.', 'x'))('ajv/dist/2020').default
const folder = new URL('../../schemas/', import.meta.url).pathname
const read = (name) => JSON.parse(readFileSync(join(folder, name), 'utf-8'))
const compiled = {}
for (const name of readdirSync(folder).filter((each) => each.endsWith('.schema.json')))
  compiled[name] = new Ajv({ strict: true, formats: { uuid: true } }).compile(read(name))
const native = compiled['native-envelope.schema.json']
let wrong = 0
for (const kind of ['accepted', 'refused'])
  for (const name of readdirSync(join(folder, 'examples/native', kind))) {
    if (name.endsWith('.expected.json')) continue
    const example = read(`examples/native/${kind}/${name}`)
    if (kind === 'refused' && !('value' in example)) continue
    const expected = kind === 'accepted' || example.schema === 'accepts'
    if (native(kind === 'accepted' ? example : example.value) !== expected && example.schema !== 'not_json') {
      console.log(`${name}: ${expected ? 'refused' : 'accepted'}, as it should not be`)
      wrong += 1
    }
  }
const schemas = { measure: 'measure-body', embrace: 'embrace-envelope', faro: 'faro-body' }
for (const [format, schema] of Object.entries(schemas))
  for (const name of readdirSync(join(folder, 'examples', format))) {
    const { value, expect } = read(`examples/${format}/${name}`)
    if (value === undefined || !expect.records || expect.refused?.length) continue
    if (!compiled[`${schema}.schema.json`](value)) {
      console.log(`${format}/${name}: refused, as it should not be`)
      wrong += 1
    }
  }
console.log(`${Object.keys(compiled).length} schemas compiled, ${wrong} examples wrong`)
process.exit(wrong ? 1 : 0)
