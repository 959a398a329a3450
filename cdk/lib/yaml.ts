/** For kubernetes/, which has no packages of its own. */
export { parseAllDocuments, stringify } from 'yaml';
