/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kml: the record codec, and the JSON made of records.  What decodes must encode to as many bytes, and those
 * must decode to the same again.
 *
 *	u8 type		which of the types below
 *	rest		its XDR
 */
#include "httpd/json.h"
#include "rpcgen/kml_codec.h"
#include "tests/fuzz/fuzz.h"

union value {
	struct kml_record record;
	struct kml_entry entry;
	struct kml_listed listed;
	struct kml_object object;
	struct kml_batch batch;
	struct kml_answers answers;
	struct kml_wishes wishes;
	struct kml_given given;
};

typedef int decode_fn(const void *data, size_t len, void *ret_value);
typedef int encode_fn(struct buf *buf, const void *value);
typedef void release_fn(void *value);

/* The functions take a pointer to the value, whatever its type; called as such. */
#define TYPE(name) { (decode_fn *)kml_##name##_decode, (encode_fn *)kml_##name##_encode, \
		     (release_fn *)kml_##name##_release }
static const struct type {
	decode_fn *decode;
	encode_fn *encode;
	release_fn *release;
} types[] = {
	TYPE(record), TYPE(entry), TYPE(listed), TYPE(object), TYPE(batch), TYPE(answers), TYPE(wishes), TYPE(given),
};

enum { RECORD, ENTRY, LISTED, OBJECT };

static void check_json(json_t *json)
{
	json_error_t wrong;
	json_t *again;
	struct buf buf;

	MUST(json);
	buf_init(&buf, 0);
	MUST(!json_write(&buf, json));
	again = json_loadb((const char *)buf.data, buf.len, JSON_REJECT_DUPLICATES, &wrong);
	MUST(again);
	json_decref(again);
	buf_release(&buf);
}

static void check_record(const struct kml_record *record)
{
	struct kml_record copy;
	struct buf first, second;

	buf_init(&first, 0);
	buf_init(&second, 0);
	MUST(!kml_record_print(&first, record));
	MUST(!memchr(first.data, '\n', first.len));
	MUST(!kml_record_copy(record, &copy));
	MUST(!kml_record_print(&second, &copy));
	MUST(first.len == second.len && !memcmp(first.data, second.data, first.len));
	kml_record_release(&copy);
	buf_release(&first);
	buf_release(&second);
}

static void check_value(unsigned type, const union value *value)
{
	switch (type) {
	case RECORD:
		check_record(&value->record);
		break;
	case ENTRY:
		check_record(&value->entry.record);
		check_json(json_of_entry(&value->entry));
		break;
	case LISTED:
		check_json(json_of_listed(&value->listed));
		break;
	case OBJECT:
		check_json(json_of_object(&value->object));
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = input_of(data, size);
	unsigned n = input_u8(&in) % ARRAY_SIZE(types);
	const struct type *type = &types[n];
	struct slice bytes = input_rest(&in);
	AUTO_FREE void *copy = input_copy(bytes);
	union value value, again;
	struct buf first, second;

	if (type->decode(copy, bytes.len, &value))
		return 0;
	buf_init(&first, 0);
	buf_init(&second, 0);
	MUST(!type->encode(&first, &value));
	MUST(first.len == bytes.len);	/* they may differ in padding and in what is true */
	check_value(n, &value);
	type->release(&value);
	MUST(!type->decode(first.data, first.len, &again));
	MUST(!type->encode(&second, &again));
	MUST(second.len == first.len && !memcmp(second.data, first.data, first.len));
	type->release(&again);
	buf_release(&first);
	buf_release(&second);
	return 0;
}
