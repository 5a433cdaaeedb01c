"""Messages of trace.proto. Made by `python tools/messages.py`; do not edit."""

from google.protobuf import descriptor_pool
from google.protobuf.internal import builder

DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(
    b'\n\x18dockc/rpc/pb/trace.proto\x12\x0fdockc.rpc.trace"S\n\x19ExportTraceServiceRequest'
    b'\x126\n\x0eresource_spans\x18\x01 \x03(\x0b2\x1e.dockc.rpc.trace.ResourceSpans"V\n\x1aExportTraceS'
    b'erviceResponse\x128\n\x0fpartial_success\x18\x01 \x01(\x0b2\x1f.dockc.rpc.trace.PartialSuccess'
    b'"?\n\x0ePartialSuccess\x12\x16\n\x0erejected_spans\x18\x01 \x01(\x03\x12\x15\n\rerror_message\x18\x02 \x01(\t"\x82\x01\n\rRe'
    b'sourceSpans\x12+\n\x08resource\x18\x01 \x01(\x0b2\x19.dockc.rpc.trace.Resource\x120\n\x0bscope_spans\x18'
    b'\x02 \x03(\x0b2\x1b.dockc.rpc.trace.ScopeSpans\x12\x12\n\nschema_url\x18\x03 \x01(\t"[\n\x08Resource\x12-\n\nat'
    b'tributes\x18\x01 \x03(\x0b2\x19.dockc.rpc.trace.KeyValue\x12 \n\x18dropped_attributes_count\x18\x02 '
    b'\x01(\r"m\n\nScopeSpans\x12%\n\x05scope\x18\x01 \x01(\x0b2\x16.dockc.rpc.trace.Scope\x12$\n\x05spans\x18\x02 \x03(\x0b2'
    b'\x15.dockc.rpc.trace.Span\x12\x12\n\nschema_url\x18\x03 \x01(\t"w\n\x05Scope\x12\x0c\n\x04name\x18\x01 \x01(\t\x12\x0f\n\x07ver'
    b'sion\x18\x02 \x01(\t\x12-\n\nattributes\x18\x03 \x03(\x0b2\x19.dockc.rpc.trace.KeyValue\x12 \n\x18dropped_att'
    b'ributes_count\x18\x04 \x01(\r"\xbe\x03\n\x04Span\x12\x10\n\x08trace_id\x18\x01 \x01(\x0c\x12\x0f\n\x07span_id\x18\x02 \x01(\x0c\x12\x13\n\x0btrace'
    b'_state\x18\x03 \x01(\t\x12\x16\n\x0eparent_span_id\x18\x04 \x01(\x0c\x12\x0c\n\x04name\x18\x05 \x01(\t\x12\x0c\n\x04kind\x18\x06 \x01(\x05\x12\x1c\n\x14star'
    b't_time_unix_nano\x18\x07 \x01(\x06\x12\x1a\n\x12end_time_unix_nano\x18\x08 \x01(\x06\x12-\n\nattributes\x18\t \x03(\x0b2\x19'
    b'.dockc.rpc.trace.KeyValue\x12 \n\x18dropped_attributes_count\x18\n \x01(\r\x12&\n\x06events\x18\x0b '
    b'\x03(\x0b2\x16.dockc.rpc.trace.Event\x12\x1c\n\x14dropped_events_count\x18\x0c \x01(\r\x12$\n\x05links\x18\r \x03(\x0b'
    b"2\x15.dockc.rpc.trace.Link\x12\x1b\n\x13dropped_links_count\x18\x0e \x01(\r\x12'\n\x06status\x18\x0f \x01(\x0b2\x17.d"
    b'ockc.rpc.trace.Status\x12\r\n\x05flags\x18\x10 \x01(\x07"~\n\x05Event\x12\x16\n\x0etime_unix_nano\x18\x01 \x01(\x06\x12\x0c\n'
    b'\x04name\x18\x02 \x01(\t\x12-\n\nattributes\x18\x03 \x03(\x0b2\x19.dockc.rpc.trace.KeyValue\x12 \n\x18dropped_at'
    b'tributes_count\x18\x04 \x01(\r"\x9e\x01\n\x04Link\x12\x10\n\x08trace_id\x18\x01 \x01(\x0c\x12\x0f\n\x07span_id\x18\x02 \x01(\x0c\x12\x13\n\x0btrac'
    b'e_state\x18\x03 \x01(\t\x12-\n\nattributes\x18\x04 \x03(\x0b2\x19.dockc.rpc.trace.KeyValue\x12 \n\x18dropped_'
    b'attributes_count\x18\x05 \x01(\r\x12\r\n\x05flags\x18\x06 \x01(\x07"\'\n\x06Status\x12\x0f\n\x07message\x18\x02 \x01(\t\x12\x0c\n\x04code'
    b'\x18\x03 \x01(\x05"A\n\x08KeyValue\x12\x0b\n\x03key\x18\x01 \x01(\t\x12(\n\x05value\x18\x02 \x01(\x0b2\x19.dockc.rpc.trace.AnyValu'
    b'e"\xf0\x01\n\x08AnyValue\x12\x16\n\x0cstring_value\x18\x01 \x01(\tH\x00\x12\x14\n\nbool_value\x18\x02 \x01(\x08H\x00\x12\x13\n\tint_valu'
    b'e\x18\x03 \x01(\x03H\x00\x12\x16\n\x0cdouble_value\x18\x04 \x01(\x01H\x00\x122\n\x0barray_value\x18\x05 \x01(\x0b2\x1b.dockc.rpc.trace'
    b'.ArrayValueH\x00\x125\n\x0ckvlist_value\x18\x06 \x01(\x0b2\x1d.dockc.rpc.trace.KeyValueListH\x00\x12\x15\n\x0b'
    b'bytes_value\x18\x07 \x01(\x0cH\x00B\x07\n\x05value"7\n\nArrayValue\x12)\n\x06values\x18\x01 \x03(\x0b2\x19.dockc.rpc.t'
    b'race.AnyValue"9\n\x0cKeyValueList\x12)\n\x06values\x18\x01 \x03(\x0b2\x19.dockc.rpc.trace.KeyValue'
    b'b\x06proto3'
)
builder.BuildMessageAndEnumDescriptors(DESCRIPTOR, globals())
builder.BuildTopDescriptorsAndMessages(DESCRIPTOR, "dockc.rpc.pb.trace_pb2", globals())
