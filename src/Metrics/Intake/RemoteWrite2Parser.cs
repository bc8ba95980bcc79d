using System.Buffers;
using System.Runtime.InteropServices;
using Platform.SampleStore;

namespace Platform.Metrics.Intake;

/// <summary>
/// Reads the message of remote write 2.0, <c>io.prometheus.write.v2.Request</c>: texts are in a table, and labels refer to them. The labels
/// of a series are written out as 1.0 has them, so that a sender which changes its version finds its series again.
/// </summary>
internal sealed class RemoteWrite2Parser(IntakeRun run)
{
    private const int MostSymbols = 5_000_000;
    private const int MostRefs = 4_096;

    private readonly RemoteWriteParser _samples = new(run);
    private readonly List<(int Start, int Length)> _symbols = [];
    private readonly List<uint> _refs = [];

    public void Read(ReadOnlySpan<byte> body)
    {
        // The table comes first, but nothing in protobuf promises that.
        ReadSymbols(body);
        var reader = new ProtoReader(body);
        while (reader.Next())
        {
            if (reader.Field == 5)
            {
                ReadSeries(body, reader.Bytes());
            }
            else
            {
                reader.Skip();
            }
        }
    }

    private void ReadSymbols(ReadOnlySpan<byte> body)
    {
        var reader = new ProtoReader(body);
        while (reader.Next())
        {
            if (reader.Field == 4)
            {
                var length = reader.Bytes().Length;
                if (_symbols.Count == MostSymbols)
                {
                    throw new RefusedBodyException($"The request has more than {MostSymbols} symbols. Nothing of it was stored; send several requests.", StatusCodes.Status413PayloadTooLarge);
                }

                _symbols.Add((reader.Position - length, length));
            }
            else
            {
                reader.Skip();
            }
        }
    }

    private void ReadSeries(ReadOnlySpan<byte> body, ReadOnlySpan<byte> message)
    {
        _refs.Clear();
        ReadOnlySpan<byte> metadata = [];
        var (samples, histograms) = (0, 0);
        var reader = new ProtoReader(message);
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 1 when reader.Wire == 0:
                    AddRef(reader.Varint());
                    break;
                case 1:
                    for (var list = reader.Bytes(); list.Length > 0;)
                    {
                        AddRef(ProtoReader.TakeVarint(ref list));
                    }

                    break;
                case 2:
                    reader.Skip();
                    samples++;
                    break;
                case 3:
                    reader.Skip();
                    histograms++;
                    break;
                case 4:
                    reader.Skip();
                    run.Exemplars++;
                    break;
                case 5:
                    metadata = reader.Bytes();
                    break;
                default:
                    // Among them field 6, where the candidates of 2.0 had the start of a counter.
                    reader.Skip();
                    break;
            }
        }

        if (!TryWriteLabels(body, out var fault))
        {
            run.Refusals.Add(RefusalReason.Invalid, Math.Max(1, samples + histograms), $"A series of the request has {fault}.");
            return;
        }

        run.Expect(samples);
        var labels = run.Scratch.WrittenSpan;
        if (samples + histograms == 0)
        {
            run.Refusals.Add(RefusalReason.Invalid, 1, "A series of the request has neither samples nor histograms.");
        }

        for (var number = 0; number < histograms; number++)
        {
            _samples.RefuseHistogram(labels);
        }

        if (samples > 0 && _samples.Find(labels, samples) is { } series)
        {
            ReadSamples(series, message);
            if (metadata.Length > 0)
            {
                Describe(series, body, metadata);
            }
        }
    }

    // One more than may be, so that the fault shows.
    private void AddRef(ulong reference)
    {
        if (_refs.Count <= MostRefs)
        {
            _refs.Add((uint)Math.Min(reference, uint.MaxValue));
        }
    }

    private void ReadSamples(StoredSeries series, ReadOnlySpan<byte> message)
    {
        var reader = new ProtoReader(message);
        while (reader.Next())
        {
            if (reader.Field == 2)
            {
                _samples.ReadSample(series, reader.Bytes());
            }
            else
            {
                reader.Skip();
            }
        }
    }

    private bool TryWriteLabels(ReadOnlySpan<byte> body, out string? fault)
    {
        run.Scratch.ResetWrittenCount();
        fault = null;
        if (_refs.Count > MostRefs)
        {
            fault = $"more than {MostRefs / 2} labels";
            return false;
        }

        if (_refs.Count % 2 != 0)
        {
            fault = $"{_refs.Count} label references; they come in pairs of name and value";
            return false;
        }

        for (var index = 0; index < _refs.Count; index += 2)
        {
            if (Math.Max(_refs[index], _refs[index + 1]) >= _symbols.Count)
            {
                fault = $"a reference to symbol {Math.Max(_refs[index], _refs[index + 1])}, and the table has {_symbols.Count}";
                return false;
            }

            WriteLabel(run.Scratch, SymbolAt(body, _refs[index]), SymbolAt(body, _refs[index + 1]));
        }

        return true;
    }

    private static void WriteLabel(ArrayBufferWriter<byte> into, ReadOnlySpan<byte> name, ReadOnlySpan<byte> value)
    {
        var length = 2 + VarintLength(name.Length) + name.Length + VarintLength(value.Length) + value.Length;
        var room = into.GetSpan(1 + 5 + length);
        var at = 0;
        room[at++] = RemoteWriteParser.LabelTag;
        WriteVarint(room, ref at, length);
        room[at++] = RemoteWriteParser.NameTag;
        WriteVarint(room, ref at, name.Length);
        name.CopyTo(room[at..]);
        at += name.Length;
        room[at++] = RemoteWriteParser.ValueTag;
        WriteVarint(room, ref at, value.Length);
        value.CopyTo(room[at..]);
        into.Advance(at + value.Length);
    }

    private static int VarintLength(int value)
    {
        var length = 1;
        for (; value >= 0x80; value >>= 7)
        {
            length++;
        }

        return length;
    }

    private static void WriteVarint(Span<byte> into, ref int at, int value)
    {
        for (; value >= 0x80; value >>= 7)
        {
            into[at++] = (byte)(value | 0x80);
        }

        into[at++] = (byte)value;
    }

    private ReadOnlySpan<byte> SymbolAt(ReadOnlySpan<byte> body, uint reference)
    {
        var (start, length) = CollectionsMarshal.AsSpan(_symbols)[(int)reference];
        return body.Slice(start, length);
    }

    // With every series of every request, so that what was said before must cost no more than a hash.
    private void Describe(StoredSeries series, ReadOnlySpan<byte> body, ReadOnlySpan<byte> message)
    {
        ulong type = 0;
        uint help = 0, unit = 0;
        var reader = new ProtoReader(message);
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 1:
                    type = reader.Varint();
                    break;
                case 3:
                    help = (uint)Math.Min(reader.Varint(), uint.MaxValue);
                    break;
                case 4:
                    unit = (uint)Math.Min(reader.Varint(), uint.MaxValue);
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }

        if (type == 0 && help == 0 && unit == 0)
        {
            return;
        }

        if (Math.Max(help, unit) >= _symbols.Count)
        {
            return; // the samples are right; a help that is nowhere is no reason to send them back
        }

        var name = series.Labels.Name;
        run.Scratch.ResetWrittenCount();
        run.Scratch.Write(MemoryMarshal.AsBytes(name.AsSpan()));
        run.Scratch.Write((ReadOnlySpan<byte>)[0, (byte)type]);
        run.Scratch.Write(SymbolAt(body, help));
        run.Scratch.Write("\0"u8);
        run.Scratch.Write(SymbolAt(body, unit));
        var key = run.KeyOf(run.Scratch.WrittenSpan);
        if (run.IsNews(key))
        {
            _samples.Describe(key, FamilyOf(name, type), type, ProtoReader.TextOf(SymbolAt(body, help)), ProtoReader.TextOf(SymbolAt(body, unit)));
        }
    }

    // Types 3, 4 and 5 are histograms and summaries: their series carry a suffix that the family does not.
    private static string FamilyOf(string name, ulong type) => type is not (3 or 4 or 5) ? name
        : name.EndsWith("_bucket", StringComparison.Ordinal) ? name[..^"_bucket".Length]
        : name.EndsWith("_count", StringComparison.Ordinal) ? name[..^"_count".Length]
        : name.EndsWith("_sum", StringComparison.Ordinal) ? name[..^"_sum".Length]
        : name;
}
