// Compiles every schema with Ajv in strict mode, and holds the accepted and refused examples to the native one:
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
console.log(`${Object.keys(compiled).length} schemas compiled, ${wrong} examples wrong`)
process.exit(wrong ? 1 : 0)
