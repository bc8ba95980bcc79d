using Platform.PromQL;

namespace Platform.SampleStore;

/// <summary>A series in this process: its labels, its id in the database, and its recent samples.</summary>
internal sealed class LiveSeries(Labels labels, string realm) : StoredSeries(labels)
{
    private int _state;
    private int _held;
    private SampleBuffer? _samples;

    public string Realm => realm;

    /// <summary>
    /// Holds the series until the answer is disposed; guards its samples and its state. It is held for nanoseconds, and taken once for every
    /// sample that comes in: a monitor would cost more than all that is done meanwhile.
    /// </summary>
    public Hold Enter()
    {
        if (Interlocked.CompareExchange(ref _held, 1, 0) != 0)
        {
            var wait = default(SpinWait);
            do
            {
                wait.SpinOnce();
            }
            while (Interlocked.CompareExchange(ref _held, 1, 0) != 0);
        }

        return new Hold(this);
    }

    /// <summary>The key in the database; 0 until a writer has given one. Fixed once <see cref="IsDurable"/>.</summary>
    public long Id { get; set; }

    /// <summary>The row of the series is committed, and readers see it.</summary>
    public bool IsDurable => Volatile.Read(ref _state) == 1;

    /// <summary>
    /// The series has left memory. Who still holds the object (a request that was parsed before) asks <see cref="Head.Current"/> for the
    /// one that has taken its place.
    /// </summary>
    public bool IsRetired => Volatile.Read(ref _state) == 2;

    /// <summary>Day (since 1970) until which the row of the series is safe from retention, as far as this process knows.</summary>
    public int KeptFrom { get; set; }

    /// <summary>A moment when somebody has last asked for the series, in minutes; what was interned but never committed goes by it.</summary>
    public int Touched { get; set; }

    /// <summary>Time of the newest sample known, also of those that are only in the database.</summary>
    public long LastTime { get; set; } = long.MinValue;

    /// <summary>Null while nothing was ever added; made under the lock of the series.</summary>
    public SampleBuffer? Samples => Volatile.Read(ref _samples);

    public SampleBuffer MakeSamples() => _samples ??= new SampleBuffer();

    public void DropSamples() => _samples = null;

    /// <summary>See <see cref="Enter"/>.</summary>
    public readonly ref struct Hold(LiveSeries series)
    {
        public void Dispose() => Volatile.Write(ref series._held, 0);
    }

    public void BecomeDurable() => Interlocked.CompareExchange(ref _state, 1, 0);

    public void Retire() => Volatile.Write(ref _state, 2);
}
