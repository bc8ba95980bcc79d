using System.Diagnostics.CodeAnalysis;
using Microsoft.AspNetCore.Http.HttpResults;
using Platform.ServiceDefaults;

namespace Platform.Alerting;

/// <summary>A thing that belongs to a realm; <c>*</c> belongs to all of them, and only callers of all realms change it.</summary>
public interface IOfRealm
{
    string Realm { get; }
}

public static class Changing
{
    /// <summary>The first two questions of every change by id, asked of what the transaction found and locked: is it there, and does the caller reach it?</summary>
    /// <param name="refusal">404 or 403.</param>
    public static bool MayChange<T>(this Caller caller, T? found, [NotNullWhen(true)] out T? thing, [NotNullWhen(false)] out ProblemHttpResult? refusal)
        where T : class, IOfRealm
    {
        if (found is null)
        {
            (thing, refusal) = (null, TypedResults.Problem(statusCode: StatusCodes.Status404NotFound));
            return false;
        }

        if (!caller.Reaches(found.Realm))
        {
            (thing, refusal) = (null, Access.ForeignRealm(caller, found.Realm));
            return false;
        }

        (thing, refusal) = (found, null);
        return true;
    }
}
